# pyright: reportPrivateUsage=false
# What is left running is inside.
"""The gate by itself: who has a turn, and when."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest

from nexudus_async._ratelimit.adaptive_rate import LONGEST_STEP, UNPACED
from nexudus_async._ratelimit.gate import HELD_BACK, NEW, NOT_OURS, REPLAY, Gate
from nexudus_async.testing import ManualClock


class Queue:
    """Requests at a gate: the names of those that were let through, and their tickets."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.tickets: dict[str, float] = {}

    def join(
        self, name: str, rank: int = NEW, *, write: bool = False, wait: float = 0.0, replays: int = 0
    ) -> "asyncio.Task[None]":
        async def enter() -> None:
            place = self.gate.place(rank, write=write, wait=wait, replays=replays)
            self.tickets[name] = await self.gate.enter(place)

        return asyncio.create_task(enter())

    def serve(self, name: str, *, write: bool = False) -> None:
        self.gate.served(self.tickets[name], write=write)

    def refuse(self, name: str, asked: float | None = None, *, write: bool = False) -> None:
        self.gate.throttled(self.tickets[name], asked, write=write)

    def names(self) -> str:
        return "".join(self.tickets)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def gate(clock: ManualClock) -> Iterator[Gate]:
    gate = Gate(clock)
    yield gate
    gate.close()


@pytest.fixture
def queue(gate: Gate) -> Queue:
    return Queue(gate)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def pass_by(clock: ManualClock, seconds: float) -> None:
    """Let time pass in small steps, so that whoever sleeps for a moment sleeps no longer."""
    await settle()
    end = clock.monotonic() + seconds
    while (left := end - clock.monotonic()) > 1e-9:
        clock.advance(min(left, 0.01) + 1e-9)  # floats
        await settle()


def throttle(gate: Gate, asked: float | None = 5) -> None:
    """Let the gate hear of a throttled answer to what was sent before it was engaged."""
    gate.throttled(UNPACED, asked, write=False)


async def test_it_is_open_until_something_is_throttled(gate: Gate, clock: ManualClock) -> None:
    """And then it is closed as long as the answer asks, or, if it does not, for `first_wait`."""
    assert not gate.engaged
    assert gate.pause_left() == 0
    throttle(gate)
    assert gate.engaged
    assert gate.pause_left() == 5
    other = Gate(clock, first_wait=3)
    throttle(other, None)
    assert other.pause_left() == 3
    other.close()


async def test_the_throttled_come_before_those_held_back_and_these_before_the_new(
    gate: Gate, queue: Queue, clock: ManualClock
) -> None:
    """And each in the order in which they came."""
    throttle(gate)
    for name, rank in zip("abcdef", [NEW, HELD_BACK, REPLAY] * 2, strict=True):
        queue.join(name, rank)
    await pass_by(clock, 5)
    for n in range(6):
        queue.serve([*queue.tickets][n])
        await pass_by(clock, 1)
    assert queue.names() == "cfbead"


async def test_one_probes_and_the_others_follow_when_it_was_served(
    gate: Gate, queue: Queue, clock: ManualClock
) -> None:
    """One after the other, not all at once."""
    throttle(gate)
    for name in "abcdefghij":
        queue.join(name)
    await pass_by(clock, 4.98)
    assert queue.names() == ""
    await pass_by(clock, 5)
    assert queue.names() == "a"
    queue.serve("a")
    await settle()
    assert queue.names() == "ab"
    await pass_by(clock, 1)
    assert 2 < len(queue.names()) < 8


async def test_after_a_short_wait_only_the_request_itself_waits(gate: Gate, queue: Queue, clock: ManualClock) -> None:
    """`Retry-After: 1` may mean a tenth: the others go on, slower. From two seconds on all wait."""
    throttle(gate, 2)
    for name in "abc":
        queue.join(name)
    await pass_by(clock, 2)
    queue.serve("a")
    await pass_by(clock, 1)
    queue.refuse("b", 1)
    queue.join("B", REPLAY, wait=1)
    assert gate.pause_left() == 0
    await pass_by(clock, 0.9)
    assert queue.names() == "abc"
    queue.serve("c")
    await pass_by(clock, 0.2)
    assert queue.names() == "abcB"
    queue.refuse("B", 2)
    assert gate.pause_left() == 2


async def test_a_longer_pause_is_not_cut_short(gate: Gate) -> None:
    throttle(gate, 10)
    throttle(gate, 3)
    assert gate.pause_left() == 10


async def test_who_went_before_a_pause_is_held_back(gate: Gate, queue: Queue, clock: ManualClock) -> None:
    """But not those that carry their caller's authorization, nor who goes after it; nor after a pause of no length."""
    assert gate.admits(UNPACED)
    throttle(gate, 0)
    assert not gate.admits(UNPACED)
    assert gate.admits(NOT_OURS)
    queue.join("a")
    await settle()
    assert gate.admits(queue.tickets["a"])
    queue.serve("a")
    throttle(gate)
    assert not gate.admits(queue.tickets["a"])
    queue.join("b")
    await pass_by(clock, 5.1)
    assert gate.admits(queue.tickets["b"])


async def test_answers_to_what_was_sent_before_a_pause_open_nothing(
    gate: Gate, queue: Queue, clock: ManualClock
) -> None:
    """Nor does their end give the probe's turn to another."""
    throttle(gate)
    for name in "abc":
        queue.join(name)
    await pass_by(clock, 5)
    assert queue.names() == "a"
    gate.served(UNPACED, write=False)
    gate.released(UNPACED, write=False)
    await pass_by(clock, 2)
    assert queue.names() == "a"


async def test_a_pause_ends_in_a_probe_even_if_nobody_waited_for_it(
    gate: Gate, queue: Queue, clock: ManualClock
) -> None:
    """All who did were cancelled: nothing is known yet, and whoever comes is one first."""
    throttle(gate)
    queue.join("x").cancel()
    await pass_by(clock, 6)
    assert gate.engaged
    for name in "abc":
        queue.join(name)
    await pass_by(clock, 2)
    assert queue.names() == "a"
    gate.released(queue.tickets["a"], write=False)  # cancelled
    await pass_by(clock, 1)
    assert queue.names() == "ab"


@pytest.mark.parametrize("end", [GeneratorExit, KeyboardInterrupt, asyncio.CancelledError, RuntimeError])
@pytest.mark.parametrize("granted", [False, True], ids=["while it waits", "when it has its turn"])
async def test_whoever_ends_while_waiting_takes_no_turn_along(
    gate: Gate, queue: Queue, clock: ManualClock, end: type[BaseException], granted: bool
) -> None:
    """By whatever exception, `GeneratorExit` among them: a coroutine that nobody runs any more is closed so."""
    throttle(gate)
    waiting = gate.enter(gate.place(REPLAY))
    waiting.send(None)
    for name in "ab":
        queue.join(name)
    await settle()
    if granted:
        await pass_by(clock, 5)
        assert queue.names() == ""
    with suppress(BaseException):
        waiting.throw(end)
    await pass_by(clock, 0.6 if granted else 5)
    assert queue.names() == "a"
    assert gate.waiting == 1
    queue.serve("a")
    await pass_by(clock, 1)
    assert queue.names() == "ab"


async def test_failures_in_a_row_are_an_outage_and_nobody_waits_for_them(
    gate: Gate, queue: Queue, clock: ManualClock
) -> None:
    """The tenth does not sit through nine time-outs. Two prove nothing, and a good answer starts the count anew."""
    throttle(gate)
    for name in "abcdefgh":
        queue.join(name)
    await pass_by(clock, 5)
    for name, so_far in [("a", "ab"), ("b", "abc")]:
        gate.released(queue.tickets[name], write=False, failed=True)
        await pass_by(clock, 2)
        assert queue.names() == so_far
    gate.released(queue.tickets["c"], write=False, failed=True)
    await pass_by(clock, 3)
    assert len(queue.names()) > 6


async def test_a_silent_probe_does_not_hold_everybody_up_for_ever(gate: Gate, queue: Queue, clock: ManualClock) -> None:
    """After some patience one more is let through, and then another."""
    throttle(gate)
    for name in "abc":
        queue.join(name)
    await pass_by(clock, 5 + LONGEST_STEP - 0.1)
    assert queue.names() == "a"
    await pass_by(clock, LONGEST_STEP + 0.2)
    assert queue.names() == "abc"


async def test_refused_probes_go_ever_more_rarely(gate: Gate, queue: Queue, clock: ManualClock) -> None:
    """One, two and four seconds apart: the limiter may be a window that is used up."""
    throttle(gate)
    for name in "abcdef":
        queue.join(name)
    await pass_by(clock, 5)
    for so_far, wait in (("a", 1), ("ab", 2), ("abc", 4)):
        assert queue.names() == so_far
        queue.refuse(so_far[-1])
        await pass_by(clock, wait - 0.05)
        assert queue.names() == so_far
        await pass_by(clock, 0.1)


async def test_while_a_refusal_is_likely_those_with_few_replays_left_wait(
    gate: Gate, queue: Queue, clock: ManualClock
) -> None:
    """Unless there is nobody else; and then the one with the fewest waits longest."""
    throttle(gate)
    for name, replays in (("a", 5), ("b", 4), ("c", 0), ("d", 0)):
        queue.join(name, REPLAY if replays else NEW, replays=replays)
    await pass_by(clock, 5)
    for name in "cdb":
        queue.refuse(name)
        await pass_by(clock, 8)
    assert queue.names() == "cdba"


async def test_reads_do_not_wait_behind_writes(gate: Gate, queue: Queue, clock: ManualClock) -> None:
    """Which have a limit of their own, once the pause of the first is over."""
    gate.throttled(UNPACED, 2, write=True)
    queue.join("w", write=True)
    queue.join("r")
    await pass_by(clock, 2)
    assert queue.names() == "w", "all keep the first pause, and one probes"
    queue.serve("w", write=True)
    await pass_by(clock, 1)
    for name in "uvw":
        queue.join(name.upper(), write=True)
    await pass_by(clock, 0.5)
    for name in queue.names()[2:]:
        queue.refuse(name, 1, write=True)
    queue.join("x", write=True)
    for name in "abcde":
        queue.join(name)
        await pass_by(clock, 0.3)
        queue.serve(name)
    assert queue.names().index("b") < queue.names().index("x")


async def test_nothing_is_left_running_when_nobody_waits_or_it_is_closed(
    gate: Gate, queue: Queue, clock: ManualClock
) -> None:
    """No task."""
    throttle(gate)
    waiting = queue.join("a")
    await settle()
    assert gate._alarm is not None
    waiting.cancel()
    await pass_by(clock, 5)
    assert gate._alarm is None
    throttle(gate)
    tasks = [queue.join(name) for name in "cde"]
    tasks += [queue.join("f", REPLAY, wait=30)]
    await pass_by(clock, 5)
    gate.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["NoneType", *["SessionClosedError"] * 3]
    assert gate.waiting == 0
    assert not [task for task in asyncio.all_tasks() if "throttle" in task.get_name()]
