"""The waits of one session for what it shares with others: they end with it, and the others' do not."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from nexudus_async.errors import SessionClosedError

T = TypeVar("T")


class Waits:
    """Lets one session end its own waits: closing what it waits for would end those of all sessions."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def until_closed(self, wait: Coroutine[Any, Any, T], give_back: Callable[[T], object]) -> T:
        """Return what `wait` returns. Raises `SessionClosedError` once closed.

        give_back: called with what came too late for a cancelled caller.
        """
        task = asyncio.get_running_loop().create_task(wait)
        self._tasks.add(task)
        if self._closed:  # before this request came to wait: there is no other close() to end it
            task.cancel()
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: _dispose(done, give_back))
            task.cancel()
            raise
        finally:
            self._tasks.discard(task)
        if task.cancelled():
            raise SessionClosedError("the session was closed while this request waited for its turn")
        return task.result()

    def close(self) -> None:
        """End every wait, now and later."""
        self._closed = True
        for task in self._tasks:
            task.cancel()


def _dispose(task: "asyncio.Task[T]", give_back: Callable[[T], object]) -> None:
    if not task.cancelled() and task.exception() is None:
        give_back(task.result())
