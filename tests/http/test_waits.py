"""The waits of one session for what it shares with others: `close()` ends them, and nothing of a turn is lost."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from nexudus_async import SessionClosedError
from nexudus_async._http.waits import Waits


class Turn:
    """A turn that somebody waits for, and what was given back of it."""

    def __init__(self, waits: Waits) -> None:
        self.waits = waits
        self.comes: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.given_back: list[str] = []
        self.waiter: asyncio.Task[str] = asyncio.create_task(waits.until_closed(self._wait(), self.given_back.append))

    async def _wait(self) -> str:
        return await self.comes

    async def begin(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)


def come(turn: Turn) -> None:
    turn.comes.set_result("a turn")


def fail(turn: Turn) -> None:
    turn.comes.set_exception(RuntimeError("no turn"))


def stay_away(turn: Turn) -> None:
    pass


@pytest.mark.parametrize(
    ("meanwhile", "given_back"), [(come, ["a turn"]), (fail, []), (stay_away, [])], ids=["came", "failed", "not yet"]
)
async def test_a_turn_that_comes_when_its_caller_is_cancelled_is_given_back(
    meanwhile: Callable[[Turn], None], given_back: list[str]
) -> None:
    """In the same moment; what has not come, or has failed, is nothing to give."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    turn = Turn(Waits())
    await turn.begin()
    meanwhile(turn)
    await asyncio.sleep(0)
    turn.waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn.waiter
    await turn.begin()
    assert turn.given_back == given_back
    assert turn.comes.done()
    assert complaints == []


async def test_a_turn_that_was_taken_is_not_given_back() -> None:
    """And nothing is kept of it."""
    turn = Turn(Waits())
    await turn.begin()
    turn.comes.set_result("a turn")
    assert await turn.waiter == "a turn"
    assert turn.given_back == []
    assert vars(turn.waits)["_tasks"] == set()


async def test_closing_ends_the_waits_now_and_later() -> None:
    """And only those of one session: what they waited for goes on for others."""
    waits, other = Waits(), Turn(Waits())
    turn = Turn(waits)
    await turn.begin()
    waits.close()
    late = Turn(waits)
    for each in (turn, late):
        with pytest.raises(SessionClosedError):
            await asyncio.wait_for(each.waiter, 5)
    other.comes.set_result("a turn")
    assert await other.waiter == "a turn"
