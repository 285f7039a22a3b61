# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateUsage=false, reportUnknownParameterType=false
# pyright: reportPossiblyUnboundVariable=false, reportDeprecated=false
# pyright: reportPrivateUsage=false
# What is left running is inside.
"""The gate by itself: who has a ticket, and when."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest

from nexudus_async._ratelimit import gate as _gate
from nexudus_async._ratelimit.gate import HELD_BACK, NEW, REPLAY, Gate
from nexudus_async.testing import ManualClock
from tests.conftest import until


class Queue:
    """Requests at a gate: the names of those that were let through, and their tickets."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.tickets: dict[str, object] = {}

    def join(self, name: str, rank: int = NEW) -> "asyncio.Task[None]":
        async def enter() -> None:
            self.tickets[name] = await self.gate.enter(self.gate.place(rank))

        return asyncio.create_task(enter())

    def names(self) -> str:
        return "".join(self.tickets)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate(ManualClock())
    yield gate
    gate.close()


@pytest.fixture
def queue(gate: Gate) -> Queue:
    return Queue(gate)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def running(gate: Gate) -> list[object]:
    return [each for each in (gate._watch, gate._alarm) if each is not None]


async def sit_out(gate: Gate) -> None:
    clock = gate._clock
    assert isinstance(clock, ManualClock)
    await clock.wait_for_sleepers()
    clock.advance(gate.pause_left())
    await settle()


async def test_the_throttled_come_before_those_held_back_and_these_before_the_new(gate: Gate, queue: Queue) -> None:
    """And each in the order in which they came."""
    gate.pause(5)
    for name, rank in zip("abcdef", [NEW, HELD_BACK, REPLAY] * 2, strict=True):
        queue.join(name, rank)
    await sit_out(gate)
    for n in range(6):
        gate.leave([*queue.tickets.values()][n], well=True)
        await settle()
    assert queue.names() == "cfbead"


async def test_a_longer_pause_is_not_cut_short(gate: Gate) -> None:
    gate.pause(10)
    gate.pause(3)
    assert gate.pause_left() == 10


async def test_answers_to_what_was_sent_before_a_pause_open_nothing(gate: Gate, queue: Queue) -> None:
    """Nor does that request count as under way."""
    gate.pause(5)
    for name in "abc":
        queue.join(name)
    await sit_out(gate)
    gate.pause(5)
    assert not gate.admits(queue.tickets["a"])
    await sit_out(gate)
    assert queue.names() == "ab"
    gate.leave(queue.tickets["a"], well=True)
    await settle()
    assert queue.names() == "ab"
    assert gate.engaged
    assert gate.admits(queue.tickets["b"])


async def test_a_pause_ends_in_a_probe_even_if_nobody_waited_for_it(gate: Gate, queue: Queue) -> None:
    """All who did were cancelled: nothing is known yet, and whoever comes is one first."""
    gate.pause(5)
    queue.join("x").cancel()
    await sit_out(gate)
    assert gate.engaged
    for name in "abc":
        queue.join(name)
    await settle()
    assert queue.names() == "a"
    gate.leave(queue.tickets["a"])  # cancelled
    await settle()
    assert queue.names() == "ab"


async def test_a_cancelled_probe_that_nobody_follows_opens_nothing(gate: Gate, queue: Queue) -> None:
    """Nothing is known yet."""
    gate.pause(5)
    queue.join("a")
    await sit_out(gate)
    gate.leave(queue.tickets["a"])
    assert gate.engaged


@pytest.mark.parametrize("end", [GeneratorExit, KeyboardInterrupt, asyncio.CancelledError, RuntimeError])
@pytest.mark.parametrize("granted", [False, True], ids=["while it waits", "when it has its turn"])
async def test_whoever_ends_while_waiting_takes_no_turn_along(
    gate: Gate, queue: Queue, end: type[BaseException], granted: bool
) -> None:
    """By whatever exception, `GeneratorExit` among them: a coroutine that nobody runs any more is closed so."""
    gate.pause(5)
    waiting = gate.enter(gate.place(REPLAY))
    waiting.send(None)
    for name in "ab":
        queue.join(name)
    await settle()
    if granted:
        await sit_out(gate)
        assert queue.names() == ""
    with suppress(BaseException):
        waiting.throw(end)
    if not granted:
        await sit_out(gate)
    await settle()
    assert queue.names() == "a"
    assert gate.waiting == 1
    gate.leave(queue.tickets["a"], well=True)
    await settle()
    assert queue.names() == "ab"
    gate.leave(queue.tickets["b"], well=True)
    assert not gate.engaged


async def test_the_gate_opens_when_nobody_waits_and_nobody_is_under_way(gate: Gate, queue: Queue) -> None:
    """And not before."""
    gate.pause(5)
    for name in "abc":
        queue.join(name)
    await sit_out(gate)
    for name, engaged in [("a", True), ("b", True), ("c", False)]:
        gate.leave(queue.tickets[name], well=True)
        assert gate.engaged is engaged
        await settle()


async def test_a_good_answer_does_not_open_the_gate_to_those_who_wait(gate: Gate, queue: Queue) -> None:
    """They come in the ramp."""
    gate.pause(5)
    for name in "abcdefg":
        queue.join(name)
    await sit_out(gate)
    gate.leave(queue.tickets["a"], well=True)
    await settle()
    assert queue.names() == "abc"


async def test_failures_in_a_row_are_an_outage_and_do_not_stop_the_ramp(gate: Gate, queue: Queue) -> None:
    """The tenth does not sit through nine time-outs. Two prove nothing, and a good answer starts the count anew."""
    gate.pause(5)
    for name in "abcdefghijkl":
        queue.join(name)
    await sit_out(gate)
    for name, so_far in [("a", "ab"), ("b", "abc"), ("c", "abcde")]:
        gate.leave(queue.tickets[name], failed=True)
        await settle()
        assert queue.names() == so_far
    gate.leave(queue.tickets["d"], well=True)
    await settle()
    assert queue.names() == "abcdefg"
    gate.leave(queue.tickets["e"], failed=True)
    await settle()
    assert queue.names() == "abcdefgh"


async def test_a_silent_probe_does_not_hold_everybody_up_for_ever(
    gate: Gate, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some patience one more is let through, and then another."""
    monkeypatch.setattr(_gate, "PATIENCE", 0.02)
    gate.pause(5)
    for name in "abc":
        queue.join(name)
    await sit_out(gate)
    assert queue.names() == "a"
    await until(lambda: queue.names() == "abc")


async def test_no_patience_is_lost_during_a_pause(gate: Gate, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end in two probes."""
    monkeypatch.setattr(_gate, "PATIENCE", 0.02)
    gate.pause(5)
    for name in "abcd":
        queue.join(name)
    await sit_out(gate)
    gate.pause(5)
    await asyncio.sleep(0.1)
    monkeypatch.setattr(_gate, "PATIENCE", 10)
    await sit_out(gate)
    assert queue.names() == "ab"


async def test_nothing_is_left_running_once_the_gate_is_open_or_closed(gate: Gate, queue: Queue) -> None:
    """No timer, no task."""
    gate.pause(5)
    for name in "ab":
        queue.join(name)
    await sit_out(gate)
    assert len(running(gate)) == 1
    gate.leave(queue.tickets["a"], well=True)
    await settle()
    gate.leave(queue.tickets["b"], well=True)
    assert not gate.engaged
    assert running(gate) == []
    gate.pause(5)
    waiting = [queue.join(name) for name in "cde"]
    await sit_out(gate)
    gate.close()
    assert running(gate) == []
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["NoneType", "SessionClosedError", "SessionClosedError"]
    assert gate.waiting == 0
