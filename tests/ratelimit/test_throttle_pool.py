"""A pause reaches what was handed to aiohttp before it began, and still waits for a connection of the pool."""

import asyncio
import time

import aiohttp
import pytest

from nexudus_async import NexudusAuthError, SessionClosedError, TokenSession
from nexudus_async._ratelimit.gate import HeldBack
from nexudus_async.errors import chain_of
from nexudus_async.testing import ManualClock, NexudusEmulator
from tests.conftest import until

from .throttling import PLACE, POOL, Place, begin_a_pause, fill_the_pool, sent, settle, start


async def test_one_throttled_answer_stops_a_thousand_coroutines(
    session: TokenSession, place: Place, clock: ManualClock
) -> None:
    """What was on the wire when the answer came is aside. Then one probes, and each is sent once."""
    tasks = start(session, range(1000))
    await place.count(POOL)
    await begin_a_pause(place, clock)
    place.answer_all()
    await place.count(POOL)
    clock.advance(4.9)
    await place.count(POOL)
    assert session.statistics().queued == 901
    assert session.statistics().paused_for == pytest.approx(0.1)
    clock.advance(0.1)
    await place.count(POOL + 1)
    clock.advance(5)
    await place.count(POOL + 1)
    await place.serve(*tasks)
    assert {task.result() for task in tasks} == {200}
    assert len(place.names) == 1001
    assert len(place.peers) == POOL, "no connection was given up"


async def test_they_come_back_in_the_order_of_their_calls(
    session: TokenSession, place: Place, clock: ManualClock
) -> None:
    """The throttled one, then those that the pool had queued, then who came during the pause."""
    tasks = start(session, range(POOL + 8))
    await place.count(POOL)
    await begin_a_pause(place, clock)
    tasks += start(session, ["late"])
    await settle()
    place.answer_all()  # only now do the connections come free
    await settle()
    tasks[POOL + 3].cancel()
    clock.advance(5)
    await place.serve(*tasks)
    rest = [POOL + n for n in range(8) if n != 3]
    assert place.names[POOL:] == ["0", *map(str, rest), "late"]


async def test_what_comes_of_a_request_that_was_held_back_does_not_tell_of_that(
    session: TokenSession, place: Place, clock: ManualClock
) -> None:
    """That it was stopped and goes on later is no error, and no part of one."""
    tasks = await fill_the_pool(session, place)
    waiting = start(session, "abcde")
    await settle()
    await begin_a_pause(place, clock)
    await until(lambda: session.statistics().queued == 6)
    await session.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    for result in results:
        assert isinstance(result, SessionClosedError)
        assert not any(isinstance(link, HeldBack) for link in chain_of(result))
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_second_pause_holds_back_who_was_let_through_and_waits_in_the_pool(
    session: TokenSession, place: Place, clock: ManualClock
) -> None:
    """A ticket is good until the next pause, and the place in the queue is kept."""
    tasks = await fill_the_pool(session, place)
    tasks += start(session, "abcde")
    await settle()
    await begin_a_pause(place, clock)
    await settle()  # one connection came free: the five are held back
    tasks += start(session, "f")
    clock.advance(5)
    await place.count(POOL + 1)
    place.answer_newest()  # the probe's
    await settle()
    clock.advance(0.5)
    await until(lambda: place.names[-1] == "a")
    clock.advance(0.5)
    await settle()
    assert session.statistics().queued == 4  # "b" waits for a connection
    await begin_a_pause(place, clock, 7)
    await place.count(POOL + 2)
    place.answer_newest()  # sent before the second pause: it opens nothing
    await place.count(POOL + 2)
    assert session.statistics().queued == 6
    clock.advance(7)
    await place.serve(*tasks)
    assert [name for name in place.names if name.isalpha()] == list("abcdef")
    assert {task.result() for task in tasks} == {200}


async def test_a_replay_after_401_that_waits_is_sent_with_the_newest_token_too(
    emulator: NexudusEmulator, session: TokenSession, place: Place, clock: ManualClock
) -> None:
    """Not with the one that the refresh for it brought."""
    tasks = start(session, range(2))
    await place.count(2)
    await begin_a_pause(place, clock)
    place.answer(status=401)
    await until(lambda: emulator.renewals == 1)
    await settle()
    newest = await session.refresh()
    clock.advance(5)
    await place.serve(*tasks)
    assert [record.headers["Authorization"] for record in sent(emulator, PLACE)[2:]] == [newest.authorization] * 2


async def test_the_newest_token_is_sent(
    emulator: NexudusEmulator, session: TokenSession, place: Place, clock: ManualClock
) -> None:
    """Not the one that was good when the request was made."""
    tasks = await fill_the_pool(session, place)
    tasks += start(session, ["x"])
    await settle()
    await begin_a_pause(place, clock)
    refreshed = await session.refresh()
    place.answer_all()
    await settle()
    clock.advance(5)
    await place.serve(*tasks)
    assert sent(emulator, PLACE)[-1].headers["Authorization"] == refreshed.authorization


async def test_a_timeout_covers_the_sending_and_not_the_pause(
    session: TokenSession, place: Place, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does for those that had not been handed to aiohttp."""
    tasks = await fill_the_pool(session, place)
    (held,) = start(session, ["x"], timeout=aiohttp.ClientTimeout(total=30))
    await settle()
    await begin_a_pause(place, clock)
    place.answer_all()
    await settle()
    loop = asyncio.get_running_loop()  # aiohttp's timeouts go by its clock
    monkeypatch.setattr(loop, "time", lambda: time.monotonic() + 31)
    await settle()
    clock.advance(5)
    await place.serve(*tasks, held)
    assert held.result() == 200


async def test_a_cancelled_one_gives_its_place_on(session: TokenSession, place: Place, clock: ManualClock) -> None:
    """Held back, and while it is the probe that waits in the pool for a connection."""
    tasks = await fill_the_pool(session, place)
    held = start(session, range(10))
    await settle()
    await begin_a_pause(place, clock)
    await settle()
    tasks[0].cancel()
    held[0].cancel()
    clock.advance(5)
    await place.count(POOL + 1)
    held[1].cancel()
    await settle()
    clock.advance(0.5)
    await place.count(POOL + 2)
    await place.serve(*tasks, *held)
    assert [task.result() for task in held[2:]] == [200] * 8


async def test_closing_ends_the_wait_of_those_held_back(
    session: TokenSession, place: Place, clock: ManualClock
) -> None:
    """At once; nothing more is sent."""
    tasks = await fill_the_pool(session, place)
    held = start(session, range(200))
    await settle()
    await begin_a_pause(place, clock)
    place.answer(POOL - 1)
    await settle()
    await session.close()
    results = await asyncio.gather(*held, return_exceptions=True)
    assert all(isinstance(result, NexudusAuthError) for result in results)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(place.names) == POOL
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("nexudus_async")]
