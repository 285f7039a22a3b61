"""One process of a fleet: it requests without a pause until it is told to end, then reports what it saw.

Run by `processes.py`.
"""

import asyncio
import dataclasses
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

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
CALLERS = 2
PAUSE = 0.04
"""Seconds between two requests of one caller: some hundred requests in each lifetime of a fleet of eight."""


@dataclass(frozen=True)
class Settings:
    """store: a URL of Valkey, or else the path of a file. lease: of the lock in Valkey, in seconds.

    key: to encrypt the records with, "" for none.
    """

    name: str
    url: str
    user: tuple[str, str]
    store: str
    lease: float
    key: str


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


Pipe: TypeAlias = "Connection[Report | str, Report | str]"


class ShortLease(RedisStore):
    """Whose locks end sooner than a manager would accept: here no refresh takes as long as it must allow for."""

    @property
    def lease(self) -> float:
        return 60.0


def open_store(settings: Settings) -> TokenStore:
    store: TokenStore = FileStore(settings.store)
    if settings.store.startswith("redis://"):
        store = ShortLease(settings.store, lease=settings.lease)
    return EncryptedStore(store, settings.key) if settings.key else store


def work(pipe: Pipe, settings: Settings) -> None:
    """Be one process: say "ready" with the first answer, and report when told to end."""
    asyncio.run(main(pipe, settings))


async def main(pipe: Pipe, settings: Settings) -> None:
    report = Report()
    async with (
        aiohttp.ClientSession(headers={NAME: settings.name}) as http,
        TokenSession(
            PasswordCredentials(*settings.user), base_url=settings.url, client_session=http,
            store=open_store(settings), policy=RefreshPolicy(advisory_window=1), on_event=report.on_event,
        ) as session,
    ):  # fmt: skip
        callers = [asyncio.create_task(_call(pipe, session, report)) for _ in range(CALLERS)]
        await asyncio.to_thread(pipe.recv)
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        report.statistics = dataclasses.asdict(session.statistics())
    pipe.send(report)


async def _call(pipe: Pipe, session: TokenSession, report: Report) -> None:
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
            pipe.send("ready")
        await asyncio.sleep(PAUSE)
