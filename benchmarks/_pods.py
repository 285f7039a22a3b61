# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateUsage=false, reportUnknownParameterType=false
# pyright: reportPossiblyUnboundVariable=false, reportDeprecated=false
"""Processes that share one account: each sends requests at a pace, and tells at the end how it fared."""

import asyncio
import contextlib
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeAlias

import aiohttp

from nexudus_async import (
    EncryptedStore,
    Event,
    FileStore,
    PasswordCredentials,
    RedisStore,
    RefreshPolicy,
    StoreFailed,
    TokenObtained,
    TokenSession,
    TokenStore,
)
from nexudus_async.testing import NexudusEmulator

PATH = "/api/public/billing/customer"
PATIENCE = 60.0
FORK = multiprocessing.get_context("forkserver")  # imports once, and starts from a process without threads
LATER = ["redis.asyncio", "filelock", "cryptography.fernet", "tenacity", "anyio._backends._asyncio", "encodings.idna"]
"""What is otherwise imported at first use."""


def prepare() -> None:
    """Let the process that all others are copies of import once what each would import."""
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    FORK.set_forkserver_preload(["_bad_days", *LATER])


@dataclass(frozen=True)
class Order:
    """What one process is to do.

    store: "" for none, the URL of a server, or the path of a file. key: to encrypt the records with. prefix: of a
    server's keys. callers: tasks that send one request after the other, `pause` seconds apart.
    """

    url: str = ""
    user: tuple[str, str] = ("", "")
    store: str = ""
    key: str = ""
    prefix: str = "nexudus:"
    callers: int = 1
    pause: float = 0.1
    policy: dict[str, float] = field(default_factory=dict[str, float])


@dataclass
class Report:
    """How one process fared. Moments are monotonic seconds, the same clock for all.

    served, failed: the moments when requests were answered well, and when not. slowest: the seconds that the slowest
    took, its wait for a token included. tokens: the moments when this process got a token from the service.
    """

    served: list[float] = field(default_factory=list[float])
    failed: list[float] = field(default_factory=list[float])
    errors: Counter[str] = field(default_factory=Counter[str])
    slowest: float = 0.0
    tokens: list[float] = field(default_factory=list[float])
    store_failures: int = 0

    def on_event(self, event: Event) -> None:
        if isinstance(event, TokenObtained):
            self.tokens.append(time.monotonic())
        self.store_failures += isinstance(event, StoreFailed)


Pipe: TypeAlias = "Connection[Report | str, Report | str]"


def open_store(order: Order) -> TokenStore | None:
    if not order.store:
        return None
    remote = "://" in order.store
    store: TokenStore = RedisStore(order.store, order.prefix) if remote else FileStore(order.store)
    return EncryptedStore(store, order.key) if order.key else store


def work(pipe: Pipe, order: Order) -> None:
    """Be one process: say "up", begin when told, and report when told to stop."""
    asyncio.run(_work(pipe, order))


async def _work(pipe: Pipe, order: Order) -> None:
    report = Report()
    async with TokenSession(
        PasswordCredentials(*order.user), base_url=order.url, store=open_store(order), on_event=report.on_event,
        policy=RefreshPolicy(**order.policy), throttle=None,
    ) as session:  # fmt: skip
        pipe.send("up")
        await asyncio.to_thread(pipe.recv)
        callers = [asyncio.create_task(_call(session, report, order.pause)) for _ in range(order.callers)]
        await asyncio.to_thread(pipe.recv)
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
    pipe.send(report)


async def _call(session: TokenSession, report: Report, pause: float) -> None:
    while True:
        started = time.monotonic()
        try:
            async with session.get(PATH) as response:
                outcome = "" if response.status == 200 else f"answered {response.status}"
        except (aiohttp.ClientError, TimeoutError) as exc:
            outcome = f"{type(exc).__name__}: {exc}"
        ended = time.monotonic()
        report.slowest = max(report.slowest, ended - started)
        (report.failed if outcome else report.served).append(ended)
        report.errors.update([outcome] if outcome else [])
        await asyncio.sleep(pause)


class Pods:
    """Processes that have been told to begin."""

    def __init__(self, pipes: Sequence[Pipe]) -> None:
        self._pipes = pipes

    async def stop(self) -> list[Report]:
        """Let all end, and return what each reports."""
        return [found for found in await tell(self._pipes, "stop") if isinstance(found, Report)]


@contextlib.asynccontextmanager
async def pods(emulator: NexudusEmulator, orders: Sequence[Order]) -> AsyncGenerator[Pods, None]:
    """Give processes for the emulator's first user that have begun to send; none outlives the block."""
    processes: list[BaseProcess] = []
    pipes: list[Pipe] = []
    try:
        for order in orders:
            ours, theirs = FORK.Pipe()
            addressed = replace(order, url=emulator.url, user=(emulator.username, emulator.password))
            process: BaseProcess = FORK.Process(target=work, args=(theirs, addressed), daemon=True)
            await asyncio.to_thread(process.start)
            processes.append(process)
            pipes.append(ours)
        await tell(pipes, "")
        for pipe in pipes:
            pipe.send("go")
        yield Pods(pipes)
    finally:
        for process in processes:
            process.kill()
            await asyncio.to_thread(process.join)
        for pipe in pipes:
            pipe.close()


async def tell(pipes: Sequence[Any], word: str) -> list[Any]:
    """Send `word`, if it is one, to all, and return what each answers."""
    for pipe in pipes if word else ():
        pipe.send(word)
    async with asyncio.timeout(PATIENCE):
        while not all(pipe.poll() for pipe in pipes):  # noqa: ASYNC110 - other processes, which have no event
            await asyncio.sleep(0.01)
    return [pipe.recv() for pipe in pipes]
