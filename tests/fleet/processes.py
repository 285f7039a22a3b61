"""Starts the processes of a fleet, kills some, and collects the reports of the others."""

import asyncio
import itertools
import multiprocessing
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

from nexudus_async.testing import NexudusEmulator, RequestRecord

from .worker import NAME, Pipe, Report, Settings, work

PATIENCE = 30.0
"""Seconds for eight processes to start on a busy machine."""
LEASE = 60.0
FORK = multiprocessing.get_context("forkserver")  # imports once, and starts from a process without threads
LATER = ["redis.asyncio", "filelock", "cryptography.fernet", "tenacity", "anyio._backends._asyncio", "encodings.idna"]
"""What is otherwise imported at first use."""
FORK.set_forkserver_preload(["tests.fleet.worker", *LATER])


@dataclass(frozen=True)
class Member:
    """A process, and the pipe to it."""

    process: BaseProcess
    pipe: Pipe


class Fleet:
    """Processes that share one account through one store."""

    def __init__(self, emulator: NexudusEmulator, store: str, *, key: str = "", lease: float = LEASE) -> None:
        self._emulator, self._store, self._key, self._lease = emulator, store, key, lease
        self._members: dict[str, Member] = {}
        self._started = 0
        self.killed: set[str] = set()

    async def start(self, count: int) -> None:
        """Start `count` processes more, and return once each has had an answer."""
        started = [await asyncio.to_thread(self._start) for _ in range(count)]
        assert [await _received(member) for member in started] == ["ready"] * count

    async def kill(self, name: str) -> None:
        """Send SIGKILL: the process gets no chance to tidy up."""
        member = self._members.pop(name)
        self.killed.add(name)
        member.process.kill()
        await asyncio.to_thread(member.process.join)
        member.pipe.close()

    async def stop(self) -> list[Report]:
        """Let all processes end, and return their reports."""
        members, self._members = list(self._members.values()), {}
        for member in members:
            member.pipe.send("stop")
        reports = [await _received(member) for member in members]
        for member in members:
            await asyncio.to_thread(member.process.join, PATIENCE)
            member.pipe.close()
        assert [member.process.exitcode for member in members] == [0] * len(members)
        return [report for report in reports if isinstance(report, Report)]

    async def kill_all(self) -> None:
        for name in list(self._members):
            await self.kill(name)

    def _start(self) -> Member:
        self._started += 1
        emulator, name = self._emulator, f"worker {self._started}"
        user = emulator.username, emulator.password
        settings = Settings(name, emulator.url, user, self._store, self._lease, self._key)
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=work, args=(theirs, settings), daemon=True)
        process.start()
        theirs.close()
        member = self._members[name] = Member(process, ours)
        return member


async def _received(member: Member) -> Report | str:
    """Return what a process sends next."""
    async with asyncio.timeout(PATIENCE):
        while not member.pipe.poll():  # noqa: ASYNC110 - another process, which has no event
            await asyncio.sleep(0.01)
    return member.pipe.recv()


@asynccontextmanager
async def running(
    emulator: NexudusEmulator, store: str, count: int, *, key: str = "", lease: float = LEASE
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
