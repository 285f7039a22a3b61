"""Starts the processes of a fleet, kills some, and collects the reports of the others."""

import asyncio
import dataclasses
import itertools
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from nexudus_async.testing import NexudusEmulator, RequestRecord

from .worker import KEY, NAME, Report, Settings

PATIENCE = 30.0
"""Seconds for eight interpreters to start on a busy machine."""


class Fleet:
    """Processes that share one account through one store."""

    def __init__(self, emulator: NexudusEmulator, store: str, *, key: str = "", lease: float = 5.0) -> None:
        self._emulator, self._store, self._lease = emulator, store, lease
        secrets = {"NEXUDUS_USERNAME": emulator.username, "NEXUDUS_PASSWORD": emulator.password}
        self._environment = {**os.environ, **secrets, **({KEY: key} if key else {})}
        self._processes: dict[str, Process] = {}
        self._started = 0
        self.killed: set[str] = set()

    async def start(self, count: int) -> None:
        """Start `count` processes more, and return once each has had an answer."""
        started = await asyncio.gather(*(self._start() for _ in range(count)))
        async with asyncio.timeout(PATIENCE):
            for process in started:
                assert process.stdout is not None
                assert await process.stdout.readline() == b"ready\n"

    async def kill(self, name: str) -> None:
        """Send SIGKILL: the process gets no chance to tidy up."""
        process = self._processes.pop(name)
        self.killed.add(name)
        process.kill()
        await process.communicate()

    async def stop(self) -> list[Report]:
        """Let all processes end, and return their reports."""
        processes, self._processes = self._processes, {}
        async with asyncio.timeout(PATIENCE):
            outputs = await asyncio.gather(*(process.communicate(b"") for process in processes.values()))
        assert [process.returncode for process in processes.values()] == [0] * len(processes)
        return [Report(**json.loads(output)) for output, _ in outputs]

    async def kill_all(self) -> None:
        for name in list(self._processes):
            await self.kill(name)

    async def _start(self) -> Process:
        self._started += 1
        settings = Settings(f"worker {self._started}", self._emulator.url, self._store, self._lease)
        arguments = ["-m", "tests.fleet.worker", json.dumps(dataclasses.asdict(settings))]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdin=PIPE, stdout=PIPE, env=self._environment
        )
        self._processes[settings.name] = process
        return process


@asynccontextmanager
async def running(
    emulator: NexudusEmulator, store: str, count: int, *, key: str = "", lease: float = 5.0
) -> AsyncGenerator[Fleet, None]:
    """Give a fleet of `count` processes that have all had an answer; none outlives the block."""
    fleet = Fleet(emulator, store, key=key, lease=lease)
    try:
        await fleet.start(count)
        yield fleet
    finally:
        await fleet.kill_all()


def sender_of(record: RequestRecord) -> str:
    """Return the name of the process that sent a request."""
    return record.headers[NAME]


def gaps(records: list[RequestRecord]) -> list[float]:
    """Return the seconds between the arrivals of one request and the next."""
    return [later.started - earlier.started for earlier, later in itertools.pairwise(records)]


def check(reports: list[Report], count: int) -> None:
    """Assert what holds for every fleet, whatever happens to it: all are alive, and none saw a request fail."""
    assert [failure for report in reports for failure in report.failures] == []
    assert len([report for report in reports if report.requests > 0]) == count
