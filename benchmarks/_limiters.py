"""A service behind a limiter, in a process of its own: it notes when it let a request through, and when it did not.

Use: python benchmarks/_limiters.py KIND AMOUNT SECONDS BURST STATUS [RETRY_AFTER]

KIND is `bucket`, a token bucket as nginx's `limit_req … nodelay`, or `window`, so many in each window, as HAProxy's
counters and most services' own. It prints its port, and ends when its standard input does. `GET /record` gives what it
has noted: the second, from the first request on, and whether it was served.
"""

import argparse
import asyncio
import sys
import time

from aiohttp import web

LATENCY = 0.02
"""Seconds that an answer takes, refusals included."""


class Bucket:
    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst, self._tokens, self._filled = rate, burst, burst, time.monotonic()

    def admits(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        free = self._tokens >= 1
        self._tokens -= free
        return free


class Window:
    def __init__(self, amount: float, seconds: float) -> None:
        self._amount, self._seconds, self._window, self._used = amount, seconds, -1, 0

    def admits(self, now: float) -> bool:
        if (window := int(now // self._seconds)) != self._window:
            self._window, self._used = window, 0
        self._used += 1
        return self._used <= self._amount


class Service:
    def __init__(self, limiter: Bucket | Window, refusal: int, retry_after: str | None) -> None:
        self._limiter, self._refusal = limiter, refusal
        self._headers = {} if retry_after is None else {"Retry-After": retry_after}
        self._record: list[tuple[float, bool]] = []

    async def token(self, _request: web.Request) -> web.Response:
        token = {"access_token": "made-up", "refresh_token": "made-up", "token_type": "bearer", "expires_in": 604_799}
        return web.json_response(token)

    async def serve(self, _request: web.Request) -> web.Response:
        now = time.monotonic()
        free = self._limiter.admits(now)
        self._record.append((now, free))
        await asyncio.sleep(LATENCY)
        return web.json_response({}) if free else web.Response(status=self._refusal, headers=self._headers)

    async def record(self, _request: web.Request) -> web.Response:
        first = self._record[0][0] if self._record else 0.0
        return web.json_response([(when - first, free) for when, free in self._record])


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("kind", str), ("amount", float), ("seconds", float), ("burst", float), ("status", int)):
        options.add_argument(name, type=kind)
    options.add_argument("retry_after", nargs="?")
    given = options.parse_args()
    rate = given.amount / given.seconds
    limiter = Bucket(rate, given.burst) if given.kind == "bucket" else Window(given.amount, given.seconds)
    service = Service(limiter, given.status, given.retry_after)
    app = web.Application()
    app.add_routes(
        [
            web.post("/api/token", service.token),
            web.get("/record", service.record),
            web.get("/api/sync", service.serve),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
