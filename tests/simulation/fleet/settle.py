"""The end of a day of a fleet: the faults stop, everybody is served, everything is saved, all are closed."""

import asyncio
from typing import TYPE_CHECKING

from nexudus_async import LoginRequiredError, NexudusAuthError
from nexudus_async.errors import CREDENTIALS_REFUSED

from .content import content_of
from .process import Process

if TYPE_CHECKING:
    from .world import FleetWorld

__all__ = ["settle"]

REFRESH = "nexudus_async refresh"
LONGEST_HOLD = 3600.0 * 1.3
LONGEST_SAVE = 120.0
"""Seconds within which what is unsaved must be in a store that works."""


async def settle(world: "FleetWorld") -> None:
    """Check liveness, and that the close leaves nothing behind."""
    world.trace("settling")
    world.service.heal(world.password)
    world.store.heal()
    if (content := content_of(world.store.record)) is not None and content.is_later:
        world.judge.history.forgets()
        world.store.lose_everything()
    open_ones = [each for each in world.processes if each.alive and each.closed_at is None]
    await _everyone_is_done(world, 12 * world.policy.flight_deadline + 300)
    for process in sorted(open_ones, key=lambda each: not each.seen.has_credentials):
        if not world.run.is_over:
            await _is_served(world, process)
    if not world.run.is_over:
        await _all_is_saved(world, [each for each in open_ones if each.closed_at is None])
    for process in world.processes:
        if process.alive:
            with world.acting(process):
                closing = world.loop.create_task(process.close())
            await asyncio.wait([closing])
            closing.result()
    await _everyone_is_done(world, 0.01)
    await asyncio.sleep(10.0)  # what a store does late
    _check_nothing_is_left(world)


async def _everyone_is_done(world: "FleetWorld", within: float) -> None:
    end = world.loop.time() + within
    while pending := [task for process in world.processes for task in process.pending]:
        if world.loop.time() >= end:
            world.report(f"liveness: {len(pending)} calls are not over after {within} s")
            for task in pending:
                task.cancel()
            break
        await asyncio.wait(pending, timeout=end - world.loop.time())


async def _is_served(world: "FleetWorld", process: Process) -> None:
    """A caller that follows the advice of the errors gets a token; then an API request succeeds."""
    end = world.loop.time() + LONGEST_HOLD
    forced = False
    while process.closed_at is None:
        error = await _ask(world, process, "refresh" if forced else "token")
        if error is None:
            return
        forced = isinstance(error, CREDENTIALS_REFUSED)
        pause = 1.0 if forced else process.session.statistics().retry_in
        world.trace("not served", process.number, type(error).__name__, round(pause, 3))
        if isinstance(error, LoginRequiredError) and not process.seen.has_credentials:
            return  # whoever can sign in was served from what it held, and did not need to
        if world.loop.time() > end:
            world.report(f"liveness: nobody is served although all is well: {error!r}")
            return
        await asyncio.sleep(max(pause, 0.5) + 0.01)


async def _ask(world: "FleetWorld", process: Process, kind: str) -> NexudusAuthError | None:
    errors: list[NexudusAuthError] = []
    burials = process.seen.burials

    async def ask() -> None:
        process.burials[asyncio.current_task()] = burials
        if kind == "refresh":
            world.judge.asked_by_hand(process.number)
        try:
            token = await (process.session.refresh() if kind == "refresh" else process.session.token())
        except NexudusAuthError as error:
            errors.append(error)
        else:
            process.serves(token.access_token)

    with world.acting(process):
        task = world.loop.create_task(ask())
    process.calls[task] = kind
    await asyncio.wait([task])
    task.result()
    return errors[0] if errors else None


async def _all_is_saved(world: "FleetWorld", processes: list[Process]) -> None:
    """What a process holds and the store does not gets there, and the record is not older than what they hold."""
    end = world.loop.time() + LONGEST_SAVE
    while any(REFRESH in world.tasks_of(each) for each in processes):  # noqa: ASYNC110 - they save, then they end
        await asyncio.sleep(1.0)
    while unsaved := [each.number for each in processes if each.session.statistics().unsaved]:
        if world.loop.time() > end:
            world.report(f"store: what processes {unsaved} have to save is not saved although the store works")
            return
        await asyncio.sleep(1.0)
    history = world.judge.history
    content = content_of(world.store.record)
    issued = history.issued.get(content.access) if content is not None else None
    for process in processes:
        current = process.seen.current
        process.check_logouts()
        if history.has_forgotten or issued is None or issued.blind or current is None:
            continue
        if current.client_id == issued.client_id and current.serial > issued.serial and history.lives(process.number):
            world.report(f"store: process {process.number} has a newer token than the store, and does not save it")


def _check_nothing_is_left(world: "FleetWorld") -> None:
    for process in world.processes:
        if left := world.tasks_of(process):
            world.report(f"closed: tasks are left: {left}")
        if process.alive and not (process.http.closed and process.api.closed):
            world.report("closed: an aiohttp session is left open")
    if world.loop.timers():
        world.report(f"closed: {len(world.loop.timers())} timers are left")
