"""A file system that hangs, as one in the network does when its server is gone: nobody waits for it for long."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nexudus_async import PasswordCredentials, TokenSession
from nexudus_async.errors import StoreError
from nexudus_async.stores import FileStore, StoredToken
from nexudus_async.stores._file import GRACE, OPERATION_LIMIT, THREADS
from nexudus_async.testing import NexudusEmulator

ONE, TWO = StoredToken(1, "one"), StoredToken(2, "two")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture
def store(path: Path) -> FileStore:
    return FileStore(path)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """While it is not set, whoever opens a file in the folder does not come back."""
    there, opening = threading.Event(), os.open
    there.set()

    def hang(path: Any, *options: int, **more: Any) -> int:
        if tmp_path in Path(path).parents:
            there.wait(20)
        return opening(path, *options, **more)

    monkeypatch.setattr(os, "open", hang)
    yield there
    there.set()


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Change the seconds that an operation may take."""
    return lambda seconds: monkeypatch.setattr("nexudus_async.stores._file.OPERATION_LIMIT", seconds)


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "nexudus_async file store"}


async def test_a_caller_that_gives_up_a_load_leaves_at_once(store: FileStore, server: threading.Event) -> None:
    """The thread is left to itself."""
    server.clear()
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await store.load("a")
    assert time.monotonic() - started < 0.4


async def test_a_caller_that_gives_up_a_save_or_a_lock_leaves_soon(store: FileStore, server: threading.Event) -> None:
    """A healthy disk would have time to finish."""
    server.clear()
    for waiting in (store.save("a", ONE), store.clear("a"), store.refresh_lock("a").__aenter__()):
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await waiting
        assert time.monotonic() - started < 2


async def test_every_operation_has_an_end_of_its_own(
    store: FileStore, server: threading.Event, limit: Callable[[float], None]
) -> None:
    """Sooner than a manager gives up, and with words that say what is wrong."""
    assert OPERATION_LIMIT + GRACE < 5
    limit(0.1)
    server.clear()
    for waiting in (store.load("a"), store.save("a", ONE), store.clear("a"), store.refresh_lock("a").__aenter__()):
        started = time.monotonic()
        with pytest.raises(StoreError, match=r"tokens\.json: the file system did not answer within 0\.1 s"):
            await waiting
        assert time.monotonic() - started < 1


async def test_threads_that_are_stuck_are_not_added_to(
    store: FileStore, server: threading.Event, limit: Callable[[float], None]
) -> None:
    """However often it is tried; when the server is back, all is as before."""
    await store.save("a", ONE)
    limit(0.02)
    server.clear()
    before = threads()
    for _ in range(3 * THREADS):
        with pytest.raises(StoreError):
            await store.load("a")
    assert len(threads() - before) == THREADS
    limit(4)
    server.set()
    assert await store.load("a") == ONE
    await store.save("a", TWO)
    assert await store.load("a") == TWO


async def test_another_file_is_not_held_up(
    store: FileStore, server: threading.Event, tmp_path: Path, limit: Callable[[float], None]
) -> None:
    """Each has its own threads."""
    limit(0.02)
    server.clear()
    for _ in range(THREADS):
        with pytest.raises(StoreError):
            await store.load("a")
    server.set()
    limit(4)
    assert await FileStore(tmp_path / "other.json").load("a") is None


async def test_a_session_serves_and_closes_in_time(
    store: FileStore, server: threading.Event, limit: Callable[[float], None]
) -> None:
    """It signs in by itself; what is stuck holds up neither `token()` nor `close()`."""
    limit(0.2)
    server.clear()
    async with NexudusEmulator() as emulator:
        session = TokenSession(
            PasswordCredentials(emulator.username, emulator.password), base_url=emulator.url, store=store
        )
        started = time.monotonic()
        await session.token()
        assert time.monotonic() - started < 2
        started = time.monotonic()
        await session.close()
        assert time.monotonic() - started < 3


EXIT = """
import asyncio, os, sys, threading
from nexudus_async.errors import StoreError
from nexudus_async.stores import FileStore, _file
_file.OPERATION_LIMIT = 0.05
opening = os.open
def hang(path, *options, **more):
    if str(path) == sys.argv[1]:
        threading.Event().wait()
    return opening(path, *options, **more)
os.open = hang
async def main():
    try:
        await FileStore(sys.argv[1]).load("a")
    except StoreError:
        print("told")
asyncio.run(main())
"""


async def test_a_process_ends_though_a_thread_is_stuck(path: Path) -> None:
    """Or a service that is told to stop would have to be killed."""
    with suppress(subprocess.TimeoutExpired):
        process = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", EXIT, str(path)], capture_output=True, text=True, timeout=10
        )
        assert (process.stdout, process.stderr, process.returncode) == ("told\n", "", 0)
        return
    pytest.fail("it did not end")
