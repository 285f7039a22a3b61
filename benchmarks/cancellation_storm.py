"""How long the event loop stands still when N waiters for one refresh are cancelled at once.

Use: python benchmarks/cancellation_storm.py [--json] [--quick]

Beside N waiters of one task behind `asyncio.shield`, which is the usual way to keep it alive, and of an
`asyncio.Event`. Afterwards the refresh must still be under way, and give its token.
"""

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial

import _harness
import cold_herd

from nexudus_async import TokenManager
from nexudus_async._token import Token

Waiter = Callable[[], Awaitable[object]]


class _Source(cold_herd.Source):
    """A sign-in that takes until it is let go."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()

    async def login(self) -> Token:
        await self.let_go.wait()
        return await super().login()


async def _storm(waiter: Waiter, size: int) -> float:
    """Return the milliseconds from the first `cancel()` until every waiter is gone."""

    async def wait() -> None:
        await waiter()

    tasks = [asyncio.create_task(wait()) for _ in range(size)]
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    took = time.perf_counter() - start
    gc.enable()
    assert all(task.cancelled() for task in tasks)
    return took * 1e3


async def of_manager(size: int) -> float:
    source = _Source()
    manager = TokenManager(source)
    took = await _storm(manager.token, size)
    source.let_go.set()
    assert (await manager.token()).generation == 1
    await manager.close()
    return took


async def of_shield(size: int) -> float:
    source = _Source()
    task = asyncio.create_task(source.login())
    took = await _storm(lambda: asyncio.shield(task), size)
    source.let_go.set()
    await task
    return took


async def of_event(size: int) -> float:
    return await _storm(asyncio.Event().wait, size)


async def main(size: int, turns: int) -> _harness.Figures:
    contestants = {"asyncio.Event": of_event, "TokenManager": of_manager, "asyncio.shield": of_shield}
    found = await _harness.rounds(
        {name: partial(storm, size) for name, storm in contestants.items()}, turns, warm_up=min(1, turns - 1)
    )
    return {
        name: {"ms": statistics.median(figures), "of Event": _harness.median_ratio(figures, found["asyncio.Event"])}
        for name, figures in found.items()
    }


if __name__ == "__main__":
    given = _harness.options(__doc__).parse_args()
    for size, turns in ((100, 2), (1_000, 2)) if given.quick else ((1_000, 9), (10_000, 5), (50_000, 1)):
        figures = asyncio.run(main(size, turns))
        _harness.show(f"{size:,} cancelled", figures, as_json=given.json)
