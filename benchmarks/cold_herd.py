"""What a herd costs: N coroutines want a token at once, and there is none; the sign-in takes 200 ms.

Use: python benchmarks/cold_herd.py [--uvloop] [--json] [--quick]

The limit is N waiters of one `asyncio.Event` that is set 200 ms after all of them wait. `TokenManager` has a source
that takes 200 ms; `TokenSession` and the peers ask a server that does. authlib has no sign-in of its own: its herd
finds an expired token. Milliseconds are those beyond the 200; processor time is the client's, all included.
"""

import asyncio
import gc
import statistics
import time
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import _harness
import _peers
import aiohttp

from nexudus_async import PasswordCredentials, TokenManager, TokenSession
from nexudus_async._token import Token

SIGN_IN = 0.2
"""Seconds that a sign-in takes."""
LOOK = 0.1
"""Seconds after which everybody waits, and memory is looked at."""
Ask = Callable[[], Awaitable[object]]
Herd = Callable[[str], AbstractAsyncContextManager[tuple[Ask, Callable[[], Awaitable[object]] | None]]]


class Source:
    """A `TokenSource` that takes as long as a sign-in."""

    key = "benchmark"

    async def login(self) -> Token:
        await asyncio.sleep(SIGN_IN)
        plain = {"access_token": "made-up", "refresh_token": None, "token_type": "bearer", "client_id": None}
        return Token.from_dict({**plain, "lifetime": 6e5, "expires_at": time.time() + 6e5, "generation": 1})

    async def refresh(self, token: Token) -> Token:
        return token


@asynccontextmanager
async def event(_origin: str) -> AsyncGenerator[tuple[Ask, Ask]]:
    told = asyncio.Event()

    async def tell() -> None:
        await asyncio.sleep(SIGN_IN)
        told.set()

    yield told.wait, tell


@asynccontextmanager
async def manager(_origin: str) -> AsyncGenerator[tuple[Ask, None]]:
    manager = TokenManager(Source())
    yield manager.token, None
    await manager.close()


@asynccontextmanager
async def session(origin: str) -> AsyncGenerator[tuple[Ask, None]]:
    async with TokenSession(PasswordCredentials(_peers.USERNAME, _peers.PASSWORD), base_url=origin) as session:
        yield session.token, None


@asynccontextmanager
async def lock(origin: str) -> AsyncGenerator[tuple[Ask, None]]:
    async with aiohttp.ClientSession(origin) as http:
        yield _peers.LockedToken(http).header, None


@asynccontextmanager
async def oauth2_client(origin: str) -> AsyncGenerator[tuple[Ask, None]]:
    async with _peers.oauth2_grant(origin) as grant:
        yield grant.prepare_headers, None


@asynccontextmanager
async def authlib(origin: str) -> AsyncGenerator[tuple[Ask, None]]:
    async with _peers.authlib_client(origin) as client:
        client.token = {"access_token": "old", "refresh_token": "old", "token_type": "bearer", "expires_at": 1}
        yield (lambda: client.ensure_active_token(client.token)), None


HERDS: dict[str, Herd] = {
    "asyncio.Event": event, "TokenManager": manager, "TokenSession": session, "a lock": lock,
    "aiohttp-oauth2-client": oauth2_client, "authlib": authlib,
}  # fmt: skip


async def _wake(ask: Ask) -> None:
    await ask()


def herd(make: Herd, origin: str, size: int) -> Callable[[], Awaitable[dict[str, float]]]:
    """Return a round of one herd."""

    async def measure() -> dict[str, float]:
        async with make(origin) as (ask, tell):
            gc.collect()
            gc.disable()
            cpu, start = time.process_time(), time.perf_counter()
            tasks = [asyncio.create_task(_wake(ask)) for _ in range(size)]
            if tell is not None:
                tasks.append(asyncio.create_task(_wake(tell)))
            await asyncio.gather(*tasks)
            took, cpu = time.perf_counter() - start - SIGN_IN, time.process_time() - cpu
            gc.enable()
        return {"milliseconds": took * 1e3, "cpu": cpu * 1e3, "requests": await _requests(origin)}

    return measure


async def _requests(origin: str) -> float:
    async with aiohttp.ClientSession(origin) as http, http.get("/count") as response:
        return float((await response.json())["tokens"])


async def memory(make: Herd, origin: str, size: int) -> float:
    """Return the bytes that one more waiter takes, its task included."""
    async with make(origin) as (ask, tell):
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            tasks = [asyncio.create_task(_wake(ask)) for _ in range(size)]
            if tell is not None:
                tasks.append(asyncio.create_task(_wake(tell)))
            await asyncio.sleep(0)
            await asyncio.sleep(LOOK)
            taken = (tracemalloc.get_traced_memory()[0] - before) / size
        finally:
            tracemalloc.stop()
        await asyncio.gather(*tasks)
    return taken


async def main(size: int, *, turns: int) -> _harness.Figures:
    with _harness.server(delay=SIGN_IN) as origin:
        found = await _harness.rounds({name: herd(make, origin, size) for name, make in HERDS.items()}, turns)
        bytes_each = {name: await memory(make, origin, min(size, 2_000)) for name, make in HERDS.items()}
    return {name: _row(rounds, found["asyncio.Event"], bytes_each[name]) for name, rounds in found.items()}


def _row(mine: list[dict[str, float]], base: list[dict[str, float]], bytes_each: float) -> dict[str, Any]:
    def column(rounds: list[dict[str, float]], name: str) -> list[float]:
        return [figures[name] for figures in rounds]

    return {
        "ms beyond": statistics.median(column(mine, "milliseconds")),
        "of Event": _harness.median_ratio(column(mine, "milliseconds"), column(base, "milliseconds")),
        "processor ms": statistics.median(column(mine, "cpu")),
        "of Event ": _harness.median_ratio(column(mine, "cpu"), column(base, "cpu")),
        "token requests": int(max(column(mine, "requests"))),
        "bytes a waiter": round(bytes_each),
    }


if __name__ == "__main__":
    given = _harness.options(__doc__, loops=True).parse_args()
    for size in (1_000,) if given.quick else (1_000, 10_000, 50_000):
        figures = _harness.run(main(size, turns=1 if given.quick else 5), on_uvloop=given.uvloop)
        _harness.show(f"{size:,} waiters", figures, as_json=given.json, on_uvloop=given.uvloop)
