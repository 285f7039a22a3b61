"""What the stores are built on: waiting that a cancellation cannot tear, errors without what they were given."""

import asyncio

import anyio
import pytest

from nexudus_async.errors import without_frames
from nexudus_async.stores._support import finish


async def test_a_cancelled_caller_waits_for_what_it_began() -> None:
    """A lock that is being taken would have no owner."""
    go_on, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        done.set()

    caller = asyncio.create_task(finish(work()))
    await anyio.wait_all_tasks_blocked()
    caller.cancel()
    await anyio.wait_all_tasks_blocked()
    assert not caller.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done.is_set()


@pytest.mark.parametrize("cancellations", [1, 3])
async def test_a_cancelled_caller_waits_for_its_grace_and_no_longer(cancellations: int) -> None:
    """What it began is cancelled then, and has ended before the caller goes on."""
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    caller = asyncio.create_task(finish(work(), grace=0.05))
    await anyio.wait_all_tasks_blocked()
    for _ in range(cancellations):
        caller.cancel()
        await asyncio.sleep(0)
    assert not ended.is_set()
    async with asyncio.timeout(2):
        with pytest.raises(asyncio.CancelledError):
            await caller
    assert ended.is_set()


async def test_who_is_not_cancelled_has_no_grace() -> None:
    """It is for those who give up."""

    async def work() -> str:
        await asyncio.sleep(0.05)
        return "done"

    assert await finish(work(), grace=0) == "done"


async def test_an_error_is_raised_as_it_is() -> None:
    """And a cancelled caller hears of the cancellation instead."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await finish(fail())
    caller = asyncio.create_task(finish(fail()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


def test_an_error_loses_the_frames_of_all_it_came_from() -> None:
    """Their variables are records and passwords."""
    try:
        try:
            raise ZeroDivisionError
        except ZeroDivisionError as exc:
            raise KeyError from exc
    except KeyError as exc:
        error = without_frames(exc)
    assert error.__traceback__ is None
    assert error.__cause__ is not None
    assert error.__cause__.__traceback__ is None
