"""Lets the actions of a scenario happen in the world of one session."""

from typing import TYPE_CHECKING

from .actions import HOPS
from .days import Action
from .service import SECRET

if TYPE_CHECKING:
    from .world import World

__all__ = ["perform"]

CALLS = ("token", "get", "send", "foreign", "denied", "refresh", "own", "allowed", *HOPS)


def perform(world: "World", action: Action) -> None:
    """Let it happen, now."""
    service, what, x = world.service, action.what, action.x
    match action.kind:
        case kind if kind in CALLS:
            for _ in range(action.n):
                world.callers.arrive(action.kind, x, again=what == "again")
        case "reject":
            for _ in range(action.n):
                world.callers.reject(x)
        case "poll":
            world.callers.poll(action.n, x)
        case "current":
            _check_current(world)
        case "cancel":
            world.callers.cancel(x)
        case "fault" | "outage":
            service.queue(what, action.n, x)
        case "api fault":
            world.api.faults.extend([what] * action.n)
        case "limit":
            world.api.limit = action.n, int(x)
        case "no memory":
            world.no_memory = True
        case "revoke access":
            service.revoke_access_tokens()
        case "revoke refresh":
            service.revoke_refresh_tokens()
        case "password":
            _change_password(world, what)
        case "vault":
            world.vault_troubles.extend([what] * action.n)
        case "suspend" if world.chain.clock_may_change():
            world.clock.suspend(x)
        case "step wall" if world.chain.clock_may_change():
            world.clock.step_wall(x)
        case "cancel flight":
            _cancel_flight(world, what)
        case "listener":
            world.listener = what
        case "logout":
            world.loop.create_task(world.log_out())
        case "close":
            _begin_to_close(world, what, x)
        case "heal":
            service.heal(world.password)
            world.api.heal()
        case _:  # time passes, or nobody may set the clock now
            pass


def _check_current(world: "World") -> None:
    token, book = world.session.manager.current(), world.book
    if token is not None and (book.closed or book.phase() in ("hard", "none")):
        world.report("current() returned a token that is not fresh")


def _change_password(world: "World", what: str) -> None:
    new = f"password-{SECRET}-{world.loop.turn}"
    if what in ("theirs", "both"):
        world.service.password = new
    if what in ("ours", "both") and world.setting.callable_password:
        world.password = new
    world.service.suspended = what == "suspended"


def _cancel_flight(world: "World", what: str) -> None:
    world.checks.from_outside = True
    if what == "at the end":
        world.cancel_at_eof = True
        return
    world.chain.disturb()
    for task in world.chain.flying():
        task.cancel()


def _begin_to_close(world: "World", what: str, after: float) -> None:
    """Close; perhaps by somebody who is cancelled after a while, and who must have closed it all the same."""
    task = world.loop.create_task(world.close(scope=what == "in a cancelled scope"))
    if what == "cancelled":
        timer = world.loop.call_later(after, task.cancel)
        task.add_done_callback(lambda _: timer.cancel())
    world.close_is_enough = bool(what)
