"""Waiting that a cancellation cannot tear in the middle: what the locks of the stores are built on."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import anyio

__all__ = ["finish", "poll"]

T = TypeVar("T")

FIRST_PAUSE = 0.02
"""Seconds before the second attempt at a lock: most are held for the length of one HTTP request."""
LONGEST_PAUSE = 0.25
"""Seconds: what a released lock may stay idle for, against what a thousand waiters cost the server."""


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` as a task of its own and return its result; when cancelled, raise that only once the task has ended.

    Otherwise a cancelled caller would leave a thread, or a request already sent, that takes a lock nobody knows of.
    The shield is against anyio's scopes, which cancel again at every await and would keep the loop spinning.
    """
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError as exc:
                cancelled = cancelled or exc
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # marks it as seen: the cancellation is the news
        raise cancelled
    return task.result()


async def poll(attempt: Callable[[], Awaitable[bool]]) -> None:
    """Await `attempt` until it returns True, with growing, jittered pauses: neither lock tells when it is released."""
    pause = FIRST_PAUSE
    while not await attempt():
        await anyio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - spreads the waiters, hides nothing
        pause = min(2 * pause, LONGEST_PAUSE)
