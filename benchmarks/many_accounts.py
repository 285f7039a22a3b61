"""What an account costs, where one process serves thousands: `TokenSessions`, beside `TokenSession`s made by hand.

Use: python benchmarks/many_accounts.py [--json] [--quick]

By hand is meant twice: with one `aiohttp.ClientSession` lent to all, and with nothing lent. The contestants make a
session for each account, sign in with some at a time, send one request each, and close; then 1,000 accounts sign in at
once. Memory is what Python has allocated (tracemalloc), measured in a run of its own, because watching takes time.
Descriptors are counted while nothing is under way, and at their most during the 1,000.
"""

import asyncio
import time
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import _harness
import aiohttp

from nexudus_async import PasswordCredentials, TokenSession, TokenSessions

AT_A_TIME = 50
"""Sign-ins, and requests, under way."""
SessionOf = Callable[[str], Awaitable[TokenSession]]


def credentials(account: str) -> PasswordCredentials:
    return PasswordCredentials(account, "made-up")


@asynccontextmanager
async def token_sessions(origin: str) -> AsyncGenerator[SessionOf]:
    async with TokenSessions(credentials, base_url=origin, max_sessions=1_000_000) as sessions:
        yield sessions.session


@asynccontextmanager
async def by_hand(origin: str, *, lend: bool) -> AsyncGenerator[SessionOf]:
    made: dict[str, TokenSession] = {}
    async with AsyncExitStack() as stack:
        http = None
        if lend:
            http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))

        async def session(account: str) -> TokenSession:
            if account not in made:
                made[account] = TokenSession(credentials(account), base_url=origin, client_session=http)
            return made[account]

        yield session
        await asyncio.gather(*(each.close() for each in made.values()))


CONTESTANTS: dict[str, Callable[[str], Any]] = {
    "TokenSessions": token_sessions,
    "by hand, one session lent": lambda origin: by_hand(origin, lend=True),
    "by hand": lambda origin: by_hand(origin, lend=False),
}


def descriptors() -> int:
    """Return how many the process has open; 0 where that cannot be told."""
    with suppress(OSError):
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    return 0


async def at_a_time(number: int, work: Callable[[int], Awaitable[Any]]) -> None:
    waiting = iter(range(number))

    async def worker() -> None:
        for each in waiting:
            await work(each)

    await asyncio.gather(*[worker() for _ in range(AT_A_TIME)])
    await asyncio.sleep(0.1)  # the last refreshes end after their outcome


async def life(contestant: Callable[[str], Any], origin: str, number: int) -> dict[str, float]:
    """Make, sign in, send, close; return what each of these took, for one account."""
    figures: dict[str, float] = {}
    open_before, began = descriptors(), time.perf_counter()
    memory, cpu = tracemalloc.get_traced_memory()[0], time.process_time()

    def note(name: str) -> None:
        figures[f"us {name}"] = (time.process_time() - cpu) / number * 1e6
        figures[f"bytes {name}"] = (tracemalloc.get_traced_memory()[0] - memory) / number

    async with contestant(origin) as session_of:
        names = [f"user{account}@example.com" for account in range(number)]

        async def sign_in(account: int) -> None:
            await (await session_of(names[account])).token()

        async def send(account: int) -> None:
            async with (await session_of(names[account])).get("/api/public/billing/customer") as response:
                await response.read()

        for name in names:
            await session_of(name)
        note("made")
        await at_a_time(number, sign_in)
        note("signed in")
        await at_a_time(number, send)
        note("used")
        figures["descriptors"] = descriptors() - open_before
        figures["tasks"] = len(asyncio.all_tasks()) - 1
        cpu = time.process_time()
    figures["us closed"] = (time.process_time() - cpu) / number * 1e6
    figures["seconds"] = time.perf_counter() - began
    return figures


async def at_once(contestant: Callable[[str], Any], origin: str, number: int) -> dict[str, float]:
    """Sign in with all at once; return how long that took, and the most descriptors it had open."""
    most, before = 0, descriptors()

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, descriptors() - before)
            await asyncio.sleep(0.01)

    async with contestant(origin) as session_of:
        sessions = [await session_of(f"user{account}@example.com") for account in range(number)]
        watching, began = asyncio.create_task(watch()), time.perf_counter()
        await asyncio.gather(*(session.token() for session in sessions))
        took = time.perf_counter() - began
        watching.cancel()
    return {"seconds": took, "descriptors": most}


async def main(*, quick: bool) -> _harness.Figures:
    number, weighed, many = (100, 50, 100) if quick else (10_000, 2_000, 1_000)
    found: _harness.Figures = {}
    with _harness.server() as origin:
        await life(token_sessions, origin, 50)  # warm-up
        for name, contestant in CONTESTANTS.items():
            count = number if name != "by hand" else min(number, 1_000)  # it keeps a connection open for each
            timed = await life(contestant, origin, count)
            tracemalloc.start()
            heavy = await life(contestant, origin, min(weighed, count))
            tracemalloc.stop()
            burst = await at_once(contestant, origin, many)
            found[f"{name}: {count:,} accounts"] = {
                "us made": timed["us made"],
                "us signed in": timed["us signed in"] - timed["us made"],
                "us used": timed["us used"] - timed["us signed in"],
                "us closed": timed["us closed"],
                "bytes made": round(heavy["bytes made"]),
                "bytes in use": round(heavy["bytes used"]),
                "descriptors": int(timed["descriptors"]),
                "tasks": int(timed["tasks"]),
                f"{many:,} at once, s": burst["seconds"],
                "at most descriptors": int(burst["descriptors"]),
            }
    return found


if __name__ == "__main__":
    given = _harness.options(__doc__).parse_args()
    _harness.show("accounts", asyncio.run(main(quick=given.quick)), as_json=given.json)
