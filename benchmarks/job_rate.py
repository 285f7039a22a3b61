"""How much of what a limiter allows a sync job of thirty coroutines gets, and how many of its requests are refused.

Use: python benchmarks/job_rate.py [--json] [--quick] [--draw]

Each runs for 24 s in real time; the first six, in which ours learns the rate, do not count. `--draw` writes
`job_rate.svg`, of one run of each against 20 requests a second with a burst of 5 that are refused with a 429 alone.
"""

import asyncio
import importlib
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _harness
import aiohttp
from aiolimiter import AsyncLimiter

from nexudus_async import PasswordCredentials, TokenSession

COROUTINES = 30
SECONDS, FIRST = 24.0, 6.0
TRIES = 6
"""How often the retry by hand sends a request at most, as `Throttle` does."""
PATH = "/api/sync"
PICTURE = Path(__file__).with_name("job_rate.svg")
THROTTLED = (409, 429)


@dataclass(frozen=True)
class Limit:
    """What the service is told. seconds, burst: of a window, and of a bucket."""

    kind: str
    amount: float
    seconds: float
    burst: float
    status: int
    retry_after: str | None = None

    @property
    def rate(self) -> float:
        return self.amount / self.seconds


LIMITS = {
    "20/s, burst 5, 429 alone": Limit("bucket", 20, 1, 5, 429),
    "20/s, burst 5, 409 with Retry-After: 1": Limit("bucket", 20, 1, 5, 409, "1"),
    "2/s, 429 alone": Limit("bucket", 2, 1, 1, 429),
    "200/s, burst 20, 429 with Retry-After: 1": Limit("bucket", 200, 1, 20, 429, "1"),
    "30 in each second, 429 alone": Limit("window", 30, 1, 0, 429),
}
DRAWN = "20/s, burst 5, 429 alone"
Ask = Callable[[], Awaitable[int]]
Contestant = Callable[[str, Limit], AbstractAsyncContextManager[Ask]]
Record = list[tuple[float, bool]]


@asynccontextmanager
async def ours(origin: str, _limit: Limit) -> AsyncGenerator[Ask]:
    credentials = PasswordCredentials("ops@example.com", "made-up")
    async with TokenSession(credentials, base_url=origin) as session:
        await session.token()

        async def ask() -> int:
            async with session.get(PATH) as response:
                await response.read()
                return response.status

        yield ask


async def _by_hand(session: aiohttp.ClientSession, wait: Callable[[], Awaitable[None]]) -> int:
    """Send, and again after a throttled answer: what is found in most programs."""
    status = 0
    for attempt in range(TRIES):
        await wait()
        async with session.get(PATH) as response:
            await response.read()
            status = response.status
            if status not in THROTTLED:
                break
            pause = float(response.headers.get("Retry-After", 2**attempt))
        await asyncio.sleep(pause)
    return status


@asynccontextmanager
async def by_hand(origin: str, _limit: Limit) -> AsyncGenerator[Ask]:
    async def wait() -> None:
        pass

    async with aiohttp.ClientSession(origin) as session:
        yield lambda: _by_hand(session, wait)


@asynccontextmanager
async def told(origin: str, limit: Limit) -> AsyncGenerator[Ask]:
    burst = max(1.0, limit.burst)
    limiter = AsyncLimiter(burst, burst / limit.rate)
    async with aiohttp.ClientSession(origin) as session:
        yield lambda: _by_hand(session, limiter.acquire)


CONTESTANTS: dict[str, Contestant] = {
    "TokenSession": ours,
    "aiohttp, a retry by hand": by_hand,
    "aiohttp, aiolimiter told all of it": told,
}


def service(limit: Limit) -> AbstractContextManager[str]:
    """Run the service in another process and give its origin."""
    numbers = (limit.amount, limit.seconds, limit.burst, limit.status)
    asked = [] if limit.retry_after is None else [limit.retry_after]
    return _harness.served_by("_limiters.py", limit.kind, *map(str, numbers), *asked)


async def job(make: Contestant, limit: Limit, seconds: float) -> tuple[Record, int]:
    """Return what the service has noted, and how many answers that callers got were not 200."""
    errors = 0
    with service(limit) as origin:
        async with make(origin, limit) as ask:
            end = time.monotonic() + seconds

            async def work() -> None:
                nonlocal errors
                while time.monotonic() < end:
                    errors += await ask() != 200

            tasks = [asyncio.create_task(work()) for _ in range(COROUTINES)]
            await asyncio.wait(tasks, timeout=seconds)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        async with aiohttp.ClientSession(origin) as session, session.get("/record") as response:
            return json.loads(await response.read()), errors


def row(limit: Limit, record: Record, errors: int, seconds: float, first: float) -> dict[str, Any]:
    counted = [free for when, free in record if first <= when < seconds]
    return {
        "served of allowed": counted.count(True) / (limit.rate * (seconds - first)),
        "refused of sent": counted.count(False) / max(1, len(counted)),
        "refused in all": sum(not free for _, free in record),
        "errors": errors,
    }


async def main(*, quick: bool) -> _harness.Figures:
    seconds, first = (3.0, 1.0) if quick else (SECONDS, FIRST)
    limits = {DRAWN: LIMITS[DRAWN]} if quick else LIMITS
    return {
        f"{name}: {who}": row(limit, *await job(make, limit, seconds), seconds, first)
        for name, limit in limits.items()
        for who, make in CONTESTANTS.items()
    }


async def draw() -> None:
    """Draw one run of each."""
    import matplotlib as mpl  # noqa: PLC0415 - only the picture needs it

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "nexudus-async", "svg.fonttype": "none", "font.size": 10})
    pyplot: Any = importlib.import_module("matplotlib.pyplot")  # its types are partly unknown

    limit = LIMITS[DRAWN]
    figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    axes.plot([0, SECONDS], [limit.burst, limit.burst + limit.rate * SECONDS], "--", color="#888888", label="allowed")
    for (who, make), colour in zip(CONTESTANTS.items(), ("#2b6cb0", "#b5483a", "#5a8f3c"), strict=True):
        record, _ = await job(make, limit, SECONDS)
        times = [when for when, free in record if free]
        refused = sum(not free for _, free in record)
        label = f"{who}: {len(times)} served, {refused} refused"
        axes.step([0, *times], range(len(times) + 1), where="post", color=colour, label=label)
    axes.set(xlabel="seconds", ylabel="requests served", xlim=(0, SECONDS), ylim=(0, None))
    title = f"{COROUTINES} coroutines, and a limit of 20 requests a second with a burst of 5 that answers 429"
    axes.set_title(title, fontsize=10)
    axes.legend(loc="upper left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    parser = _harness.options(__doc__)
    parser.add_argument("--draw", action="store_true", help=f"draw {PICTURE.name} instead")
    given = parser.parse_args()
    if given.draw:
        _harness.run(draw())
    else:
        figures = _harness.run(main(quick=given.quick))
        _harness.show("thirty coroutines, and a limiter", figures, as_json=given.json)
