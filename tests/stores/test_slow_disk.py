"""A real process on a disk that is slow, and on one that hangs: its system calls wait in the kernel for seconds."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from nexudus_async import PasswordCredentials, TokenSession
from nexudus_async.stores import FileStore
from nexudus_async.testing import NexudusEmulator

from .slow_disk import can_be_slow

pytestmark = pytest.mark.fleet

ROOT = Path(__file__).parents[2]
LIMIT = 5.0
"""Seconds that a manager waits for its store, and for its refresh at the end."""
BUSY = 2.0
"""Seconds that a busy machine may add."""

WORKER = """
import asyncio, json, sys, time
from nexudus_async import FileStore, PasswordCredentials, StoreFailed, TokenSession
from tests.stores.slow_disk import SlowDisk

url, user, password, folder, delays, heals, refreshes = json.loads(sys.argv[1])
disk = SlowDisk(folder, delays)
disk.start()
events, figures = [], {}

async def timed(name, work):
    began = time.monotonic()
    await work
    figures[name] = time.monotonic() - began

async def watch():
    figures["event loop stood still"] = 0
    while True:
        began = time.monotonic()
        await asyncio.sleep(0.01)
        still = time.monotonic() - began
        figures["event loop stood still"] = max(figures["event loop stood still"], still)

async def main():
    watching = asyncio.create_task(watch())
    store = FileStore(f"{folder}/tokens.json")
    session = TokenSession(PasswordCredentials(user, password), base_url=url, store=store, on_event=events.append)
    await timed("first token", session.token())
    await timed("next token", session.token())
    if refreshes:
        await timed("refresh", session.refresh())
    if heals:
        disk.heal()
        while session.statistics().unsaved:
            await asyncio.sleep(0.01)
    await timed("close", session.close())
    watching.cancel()
    figures["store failures"] = sum(isinstance(event, StoreFailed) for event in events)
    figures["felt"] = disk.was_felt

asyncio.run(main())
print(json.dumps(figures))
"""


@dataclass(frozen=True)
class Outcome:
    """What a process told, what the service saw of it, and whether its token is in the file."""

    figures: dict[str, float]
    sign_ins: int
    kept: bool


async def live(folder: Path, delays: Mapping[str, float], *, heals: bool = False, refreshes: bool = False) -> Outcome:
    """Let a process sign in, and perhaps refresh, with its records on such a disk."""
    await asyncio.to_thread(folder.mkdir, 0o700)
    async with NexudusEmulator() as emulator:
        settings = [emulator.url, emulator.username, emulator.password, str(folder), delays, heals, refreshes]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, json.dumps(settings), stdout=PIPE, cwd=ROOT
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), 40)
        except TimeoutError:
            process.kill()
            raise
        assert process.returncode == 0
        sign_ins = emulator.sign_ins
        credentials, store = (
            PasswordCredentials(emulator.username, emulator.password),
            FileStore(folder / "tokens.json"),
        )
        async with TokenSession(credentials, base_url=emulator.url, store=store) as next_one:
            await next_one.token()
        return Outcome(json.loads(output), sign_ins, emulator.sign_ins == sign_ins)


async def test_a_slow_disk_and_one_that_hangs(tmp_path: Path) -> None:
    """Nobody waits for it for longer than five seconds, the event loop never, and nothing is lost when it is back."""
    if not can_be_slow():
        pytest.skip(
            "this system lets no process delay its system calls: Linux from 5.5 on does, unless it is forbidden"
        )
    slow, hanging, healed = await asyncio.gather(
        live(tmp_path / "slow", {"fsync": 0.8, "rename": 0.4, "read": 0.2}, refreshes=True),
        live(tmp_path / "hanging", {"open": 100}),
        live(tmp_path / "healed", {"open": 100}, heals=True),
    )
    for each in (slow, hanging, healed):
        assert each.figures["felt"]
        assert each.figures["first token"] <= LIMIT + BUSY
        assert each.figures["next token"] < 0.1
        assert each.figures["close"] <= LIMIT + BUSY
        assert each.figures["event loop stood still"] < 1
        assert each.sign_ins == 1
    assert slow.figures["store failures"] == 0
    assert slow.figures["refresh"] >= 2, "it has waited for the disk"
    assert slow.kept
    assert hanging.figures["store failures"] > 0
    assert not hanging.kept
    assert healed.figures["store failures"] > 0
    assert healed.kept, "what could not be saved is saved"
