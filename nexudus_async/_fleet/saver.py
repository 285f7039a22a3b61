"""Saving what a store did not take, once it answers again."""

import asyncio
import contextvars
from collections.abc import Callable

from nexudus_async._clock import Clock, sleep

from .storage import Chain

__all__ = ["Saver"]

SAVE_FIRST, SAVE_LAST = 1.0, 30.0
"""Seconds between attempts to save what could not be saved: doubling from the first to the last."""


class Saver:
    """One task that tries until nothing is unsaved."""

    def __init__(self, chain: Chain, clock: Clock, chance: Callable[[], float]) -> None:
        self._chain, self._clock, self._chance = chain, clock, chance
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """See to it that what is unsaved will be saved."""
        if self._chain.unsaved is not None and self._task is None:
            self._task = asyncio.get_running_loop().create_task(
                self._run(), context=contextvars.Context(), name="nexudus_async saver"
            )

    def end(self) -> asyncio.Task[None] | None:
        """Try no more; return the task that has yet to end, if there is one."""
        if self._task is not None:
            self._task.cancel()
        return self._task

    async def _run(self) -> None:
        pause = SAVE_FIRST
        try:
            while self._chain.unsaved is not None:
                await sleep(self._clock, pause * (0.5 + self._chance()))
                await self._chain.save_unsaved()
                pause = min(2 * pause, SAVE_LAST)
        finally:
            self._task = None
