"""What one request costs when the token is fresh: processor time of the client, beside aiohttp with a fixed header.

Use: python benchmarks/hot_path.py [--uvloop] [--json] [--quick]
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import _harness
import _peers

from nexudus_async import TokenManager
from nexudus_async._token import Token

PATH = "/api/public/billing/customer"
CONTESTANTS: dict[str, _peers.Contestant] = {
    "aiohttp, fixed header": _peers.bare,
    "TokenSession": _peers.ours,
    "a middleware that does nothing": _peers.idle_middleware,
    "BearerMiddleware": _peers.our_middleware,
    "a middleware with a lock": _peers.locked,
    "aiohttp-oauth2-client": _peers.oauth2_client,
    "httpx, fixed header": _peers.bare_httpx,
    "authlib": _peers.authlib,
    "httpx-auth": _peers.httpx_auth,
}
LIMIT, IDLE = "aiohttp, fixed header", "a middleware that does nothing"
CALLS = 200_000
"""Of `token()` in a round: each takes less than a microsecond."""


def requests_of(ask: _peers.Asker, number: int) -> Callable[[], Awaitable[float]]:
    """Return a round: the processor time of one request, in microseconds."""

    async def measure() -> float:
        start = time.process_time()
        for _ in range(number):
            await ask(PATH)
        return (time.process_time() - start) / number * 1e6

    return measure


async def requests(*, quick: bool) -> _harness.Figures:
    number, turns = (30, 3) if quick else (300, 36)
    with _harness.server() as origin:
        async with AsyncExitStack() as stack:
            contestants = {
                name: requests_of(await stack.enter_async_context(make(origin)), number)
                for name, make in CONTESTANTS.items()
            }
            found = await _harness.rounds(contestants, turns, warm_up=3)
    return {
        name: {
            "microseconds": statistics.median(figures),
            "of aiohttp": _harness.median_ratio(figures, found[LIMIT]),
            "of an idle middleware": _harness.median_ratio(figures, found[IDLE]),
        }
        for name, figures in found.items()
    }


class _Source:
    """Gives a token that stays fresh."""

    key = "benchmark"

    async def login(self) -> Token:
        return Token.from_dict(
            {
                "access_token": "made-up", "refresh_token": None, "token_type": "bearer", "client_id": None,
                "lifetime": 604_799.0, "expires_at": time.time() + 604_799,
            } | {"generation": 1}
        )  # fmt: skip

    async def refresh(self, token: Token) -> Token:
        return token


async def calls(*, quick: bool) -> _harness.Figures:
    number, turns = (CALLS // 20, 3) if quick else (CALLS, 21)
    manager, lock = TokenManager(_Source()), asyncio.Lock()
    await manager.token()

    async def by_lock() -> float:
        start = time.process_time()
        for _ in range(number):
            async with lock:
                pass
        return (time.process_time() - start) / number * 1e9

    async def by_token() -> float:
        start = time.process_time()
        for _ in range(number):
            await manager.token()
        return (time.process_time() - start) / number * 1e9

    found = await _harness.rounds({"asyncio.Lock, entered and left": by_lock, "token(), FRESH": by_token}, turns)
    await manager.close()
    base = found["asyncio.Lock, entered and left"]
    return {
        name: {"nanoseconds": statistics.median(figures), "of the lock": _harness.median_ratio(figures, base)}
        for name, figures in found.items()
    }


if __name__ == "__main__":
    given = _harness.options(__doc__, loops=True).parse_args()
    for title, measured in (("one request", requests), ("one token", calls)):
        figures = _harness.run(measured(quick=given.quick), on_uvloop=given.uvloop)
        _harness.show(title, figures, as_json=given.json, on_uvloop=given.uvloop)
