"""One process of a fleet: it requests without a pause until its standard input ends, then reports what it saw.

Run by `processes.py`, with `Settings` as JSON in its one argument and the secrets in the environment.
"""

import asyncio
import dataclasses
import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from nexudus_async import (
    EncryptedStore,
    Event,
    FileStore,
    NexudusAuthError,
    PasswordCredentials,
    RedisStore,
    RefreshPolicy,
    StoreFailed,
    TokenSession,
    TokenStore,
)

CUSTOMER = "/api/public/billing/customer"
NAME = "X-Worker"
"""The header that tells the emulator which process a request comes from."""
KEY = "NEXUDUS_TEST_KEY"
"""The environment variable of the key to encrypt the records with."""
CALLERS = 2
PAUSE = 0.04
"""Seconds between two requests of one caller: some hundred requests in each lifetime of a fleet of eight."""


@dataclass(frozen=True)
class Settings:
    """store: a URL of Valkey, or else the path of a file. lease: of the lock in Valkey, in seconds."""

    name: str
    url: str
    store: str
    lease: float = 5.0


@dataclass
class Report:
    """slowest: seconds that the slowest request took, its wait for a token included."""

    requests: int = 0
    failures: list[str] = field(default_factory=list[str])
    slowest: float = 0.0
    store_failures: int = 0
    statistics: dict[str, Any] = field(default_factory=dict[str, Any])

    def on_event(self, event: Event) -> None:
        self.store_failures += isinstance(event, StoreFailed)


def open_store(settings: Settings) -> TokenStore:
    store: TokenStore = FileStore(settings.store)
    if settings.store.startswith("redis://"):
        store = RedisStore(settings.store, lease=settings.lease)
    return EncryptedStore(store, os.environ[KEY]) if KEY in os.environ else store


async def main(settings: Settings) -> None:
    report = Report()
    async with (
        aiohttp.ClientSession(headers={NAME: settings.name}) as http,
        TokenSession(
            PasswordCredentials.from_env(), base_url=settings.url, client_session=http, store=open_store(settings),
            policy=RefreshPolicy(advisory_window=1), on_event=report.on_event,
        ) as session,
    ):  # fmt: skip
        callers = [asyncio.create_task(_call(session, report)) for _ in range(CALLERS)]
        await asyncio.to_thread(sys.stdin.read)
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        report.statistics = dataclasses.asdict(session.statistics())
    sys.stdout.write(json.dumps(dataclasses.asdict(report)) + "\n")


async def _call(session: TokenSession, report: Report) -> None:
    while True:
        started = time.monotonic()
        try:
            async with session.get(CUSTOMER) as response:
                if response.status != 200:
                    report.failures.append(str(response.status))
        except (NexudusAuthError, aiohttp.ClientError, TimeoutError) as exc:
            report.failures.append(f"{type(exc).__name__}: {exc}")
        report.requests += 1
        report.slowest = max(report.slowest, time.monotonic() - started)
        if report.requests == 1:
            sys.stdout.write("ready\n")
            sys.stdout.flush()
        await asyncio.sleep(PAUSE)


if __name__ == "__main__":
    asyncio.run(main(Settings(**json.loads(sys.argv[1]))))
