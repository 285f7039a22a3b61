"""What a session tells the gate of each request: its place in the queue, and what came of it; of reads and writes."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from nexudus_async import TokenSession
from nexudus_async._ratelimit.fields import Remaining
from nexudus_async._ratelimit.gate import HELD_BACK, NEW, REPLAY, Gate
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect
from tests.inside import pause

from .throttling import ECHO, Place, begin_a_pause, fill_the_pool, let_time_pass, settle, start, status

Told = list[tuple[str, tuple[Any, ...], dict[str, Any]]]
"""The calls of the gate's methods: name, arguments, keywords."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Return what gates are told from now on."""
    calls: Told = []

    def listen(name: str, usual: Callable[..., Any]) -> Callable[..., Any]:
        def method(self: Gate, *args: Any, **options: Any) -> Any:
            calls.append((name, args, options or {"write": args[0].write}))
            return usual(self, *args, **options)

        return method

    for name in ("place", "served", "throttled", "told", "released", "enter"):
        monkeypatch.setattr(Gate, name, listen(name, getattr(Gate, name)))
    return calls


def places(told: Told) -> list[tuple[int, float, int]]:
    """Return rank, wait and replays of each place that was taken."""
    return [(args[0], each.get("wait", 0.0), each.get("replays", 0)) for name, args, each in told if name == "place"]


def kinds(told: Told) -> "set[tuple[str, bool]]":
    """Return which methods were called, and whether for a write."""
    return {(name, options["write"]) for name, _, options in told}


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault.throttled(1),
        Fault.throttled(None, 409),
        Fault.throttled(3600),
        Fault.answer(401),
        Fault.dropped(),
        Fault.answer(200, b"{}", headers={"RateLimit-Limit": "100"}),
    ],
    ids=["throttled", "conflict", "for an hour", "401", "dropped", "served"],
)
async def test_a_write_is_a_write_in_all_that_the_gate_hears(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock, told: Told, method: str, fault: Fault
) -> None:
    """The limit of writes would learn from reads, or reads wait behind writes."""
    emulator.fail(ECHO, fault)
    clock.autojump = True
    pause(session, 1)
    told.clear()
    await asyncio.gather(status(session, ECHO, method), return_exceptions=True)
    assert {write for _, write in kinds(told)} == {method != "GET"}
    assert places(told)[0] == (NEW, 0.0, 0)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_the_pool_held_back_has_the_place_of_its_kind(
    session: TokenSession, place: Place, clock: ManualClock, told: Told, method: str
) -> None:
    """Before all who come later."""
    tasks = await fill_the_pool(session, place)
    tasks += start(session, ["x"], method=method)
    await settle()
    told.clear()
    await begin_a_pause(place, clock)
    place.answer_all()
    await settle()
    held = [options for name, args, options in told if name == "place" and args[0] == HELD_BACK]
    assert held == [{"write": method == "POST"}]
    clock.advance(5)
    await place.serve(*tasks)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_so_has_what_waited_for_a_token_when_the_pause_began(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, told: Told, method: str
) -> None:
    """It had passed the gate while it was open."""
    session = await connect()
    with emulator.hold("token") as hold:
        task = asyncio.create_task(status(session, ECHO, method))
        await hold.wait()
        pause(session, 5)
        told.clear()
    await let_time_pass(clock, task)
    held = [options for name, args, options in told if name == "place" and args[0] == HELD_BACK]
    assert held == [{"write": method == "POST"}]


async def test_a_write_that_a_redirect_made_a_read_waits_as_a_read(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock, told: Told
) -> None:
    """Its hop is a GET, in the same place; the turn that it gives back was a write's."""

    async def created(_: web.Request) -> web.Response:
        pause(session, 5)
        told.clear()
        return web.Response(status=303, headers={"Location": CUSTOMER})

    emulator.route("POST", "/create", created)
    pause(session, 1)
    task = asyncio.create_task(status(session, "/create", "POST"))
    await let_time_pass(clock, task)
    assert [(name, options["write"]) for name, _, options in told] == [
        ("released", True), ("enter", False), ("served", False), ("told", False),
    ]  # fmt: skip


async def test_who_has_few_replays_left_says_so(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock, told: Told
) -> None:
    """From the third of five on, also where a 401 comes between: the others go ahead while a refusal is likely."""
    clock.autojump = True
    for fault in [*[Fault.throttled(1)] * 3, Fault.answer(401), *[Fault.throttled(1)] * 2]:
        emulator.fail(CUSTOMER, fault)
    assert await status(session) == 200
    assert places(told) == [
        (REPLAY, 1.0, 0), (REPLAY, 1.0, 0), (REPLAY, 1.0, 3), (REPLAY, 0.0, 3), (REPLAY, 1.0, 4), (REPLAY, 1.0, 5),
    ]  # fmt: skip


async def test_what_the_service_says_of_its_limit_is_told(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock, told: Told
) -> None:
    """From the first throttled answer on: before, nobody looks."""
    fields = {"RateLimit-Remaining": "7", "RateLimit-Reset": "30"}
    emulator.fail(CUSTOMER, Fault.answer(200, b"{}", headers=fields), times=2)
    assert await status(session) == 200
    assert "told" not in [name for name, _, _ in told]
    clock.autojump = True
    pause(session, 1)
    assert await status(session) == 200
    assert [(args, options) for name, args, options in told if name == "told"] == [
        ((Remaining(7, 30),), {"write": False})
    ]
