"""The end of every scenario: the faults stop, everybody is served, the session is closed, and nothing is left."""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from nexudus_async import (
    CredentialsRejectedError,
    NexudusAuthError,
    PasswordResetRequiredError,
    RefreshFailed,
    TokenObtained,
    TokenRejected,
    TotpRequiredError,
)

from .book import LAPSES

if TYPE_CHECKING:
    from .world import World

__all__ = ["settle"]

LOOKS_EVERY = 30.0
"""Seconds between the looks of a session that is kept alive."""
LONGEST_HOLD = 3600.0 * 1.3
LONGEST_DOUBT = 900.0 + 60.0


async def settle(world: "World") -> None:
    """Check liveness, the counters, and that the close leaves nothing behind."""
    world.trace("settling")
    await asyncio.sleep(0)  # the last action may have been a close
    world.service.heal(world.password if world.setting.callable_password else world.first_password)
    world.api.heal()
    world.no_memory = False
    while not world.chain.clock_may_change():  # noqa: ASYNC110 - it is the end of a task of the code under test
        await asyncio.sleep(0.5)
    world.clock.set_right()
    world.vault_troubles.clear()
    if not world.run.is_over:
        await _everyone_is_done(world, _patience(world))
    if not (world.run.is_over or world.book.closed):
        await _everyone_is_served(world)
        await _it_is_kept_alive(world)
    world.listener = "quiet"
    await asyncio.sleep(0.001)  # the last events
    await _everyone_is_done(world, _patience(world))
    if not world.run.is_over:
        _check_statistics(world)
    if world.chance.random() < 0.3:
        world.callers.arrive("refresh")
        await world.latency.pass_by()
    if not (world.book.closed and world.close_is_enough):
        await world.close()
    else:
        await asyncio.sleep(1.0)  # what it has cancelled needs some turns
    await _everyone_is_done(world, 0.01)
    await asyncio.sleep(0)
    _check_nothing_is_left(world)


def _patience(world: "World") -> float:
    """Return how long a call may take: three rounds of a renewal, a sign-in, a wait for a code and another sign-in."""
    return 12 * world.policy.flight_deadline + 300


async def _everyone_is_done(world: "World", within: float) -> None:
    end = world.loop.time() + within
    while pending := world.callers.pending:
        if world.loop.time() >= end:
            paced = "paced calls: " if world.setting.pacing and world.clock.changes else ""
            world.report(f"{paced}liveness: {len(pending)} calls are not over after {within} s")
            world.callers.cancel()
            break
        await asyncio.wait(pending, timeout=end - world.loop.time())


async def _everyone_is_served(world: "World") -> None:
    """A caller that follows the advice of the errors gets a token; then an API request succeeds."""
    end = world.loop.time() + LONGEST_HOLD
    last: NexudusAuthError
    forced = False
    while True:
        try:
            token = await (world.callers.refresh() if forced else world.session.token())
        except TotpRequiredError as error:
            if world.setting.two_factor == "typed":
                return  # only a person can help: a clear error is what there is
            last, forced = error, True
        except (CredentialsRejectedError, PasswordResetRequiredError) as error:
            last, forced = error, True
        except NexudusAuthError as error:
            last, forced = error, False
        else:
            world.trace("served", token.generation)
            break
        pause = 1.0 if forced else world.session.statistics().retry_in
        world.trace("not served", type(last).__name__, round(pause, 3))
        if world.loop.time() > end:
            world.report(f"liveness: nobody is served although all is well: {last!r}")
            return
        await asyncio.sleep(max(pause, 0.5) + 0.01)
    await _requests_succeed(world)


async def _requests_succeed(world: "World") -> None:
    end = world.loop.time() + LONGEST_HOLD + LONGEST_DOUBT
    while world.loop.time() < end:
        await world.callers.arrive("get")
        if world.callers.last_answer == "answered 200":
            return
        if world.book.pauses.hold is not None and world.book.pauses.hold.kind == "latch":
            try:
                await world.callers.refresh()
            except TotpRequiredError:
                if world.setting.two_factor == "typed":
                    return
            except NexudusAuthError as error:
                world.trace("not served", type(error).__name__)
        await asyncio.sleep(20.0)
    world.report("liveness: an API request fails although all is well")


async def _it_is_kept_alive(world: "World") -> None:
    """Nobody asks any more: with keep-alive there is a newer token soon after this one is due."""
    book, newest = world.book, world.book.newest
    if not (world.setting.keep_alive and newest is not None) or newest.doubtful or book.holds() or world.run.is_over:
        return
    failures = world.chain.failures
    left = min(newest.hard, LAPSES) - book.elapsed(newest)
    if left > LOOKS_EVERY:
        world.clock.suspend(left)
        if book.elapsed(newest) < min(newest.hard, LAPSES):  # the wall clock had been wrong
            return
    await asyncio.sleep(max(0.0, min(left, LOOKS_EVERY)) + LOOKS_EVERY + world.policy.flight_deadline)
    if book.newest is newest and world.chain.failures == failures:
        troubled = "no memory: " if world.checks.no_memory else "cancelled: " if world.checks.from_outside else ""
        troubled = "a vault: " if world.vault_failed and not troubled else troubled
        world.report(f"{troubled}keep-alive: a token that was due has not been renewed")


def _check_statistics(world: "World") -> None:
    statistics, events = world.session.statistics(), Counter(type(event) for event in world.events)
    grants = Counter(event.grant for event in world.events if isinstance(event, TokenObtained))
    told = (
        grants["password"],
        grants["refresh_token"],
        events[RefreshFailed] - world.told_twice,
        events[TokenRejected],
    )
    counted = (statistics.sign_ins, statistics.renewals, statistics.failures, statistics.rejections)
    if world.checks.no_memory and told[3] < counted[3]:
        world.report("statistics: a rejection was counted, but nobody was told of it")
    elif told != counted:
        world.report(f"statistics: events say {told}, statistics() says {counted}")
    if statistics.waiting > world.setting.keep_alive:  # which may wait itself
        world.report(f"statistics: {statistics.waiting} calls wait, but there are none")


def _check_nothing_is_left(world: "World") -> None:
    if world.session.freshness.value != "closed":
        world.report("closed: the session is not closed")
    if not (world.http.closed and world.api.closed):
        world.report("closed: an aiohttp session is left open")
    if leaks := world.api.leaks():
        of_a_hop = all(kind.endswith("hop 401") for kind in leaks)
        what = (
            "no memory: answers" if world.checks.no_memory else f"closed: {'a 401 of hops' if of_a_hop else 'answers'}"
        )
        world.report(f"{what} not released")
    left = asyncio.all_tasks(world.loop) - {asyncio.current_task(world.loop)}
    if left:
        world.report(f"closed: tasks are left: {sorted(task.get_name() for task in left)}")
    if world.loop.timers():
        world.report(f"closed: {len(world.loop.timers())} timers are left")
