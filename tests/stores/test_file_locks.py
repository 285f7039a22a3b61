"""A file store's locks: one file for all, of processes, event loops and tasks, whatever becomes of their holders."""

import asyncio
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from nexudus_async.errors import StoreError
from nexudus_async.stores import FileStore, StoredToken
from nexudus_async.stores._file_locks import Claim, FileLocks, RangeLocks

from .processes import kill, python
from .test_contract import try_lock

ONE, TWO = StoredToken(1, "one"), StoredToken(2, "two")
linux = pytest.mark.skipif(sys.platform != "linux", reason="byte ranges are locked on Linux")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture(params=[pytest.param("RangeLocks", marks=linux), "FileLocks"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    kinds = {"RangeLocks": RangeLocks, "FileLocks": FileLocks}
    monkeypatch.setattr("nexudus_async.stores._file.locks_beside", kinds[request.param])
    return str(request.param)


@pytest.fixture
def store(path: Path, kind: str) -> FileStore:
    return FileStore(path)


def test_the_platform_chooses(path: Path) -> None:
    """Ranges where the system has them, files elsewhere."""
    from nexudus_async.stores._file_locks import locks_beside

    assert isinstance(locks_beside(path), RangeLocks if sys.platform == "linux" else FileLocks)


async def test_no_account_leaves_a_lock_file(store: FileStore, path: Path) -> None:
    """A hundred accounts have one lock file."""

    async def work(key: str) -> None:
        async with store.refresh_lock(key):
            await store.save(key, ONE)

    await asyncio.gather(*(work(f"key {number}") for number in range(100)))
    assert files_beside(path) == {"tokens.json"}


def files_beside(path: Path) -> set[str]:
    """Return the files there but the one lock file, which some releases of filelock remove."""
    return {file.name for file in path.parent.iterdir()} - {f"{path.name}.lock"}


def descriptors() -> list[Path]:
    return list(Path("/proc/self/fd").iterdir())


@linux
async def test_locks_that_are_held_need_one_file_and_one_descriptor(path: Path) -> None:
    """Hundreds of accounts may refresh at once, and a process may have a thousand descriptors; none stays open."""
    store, before = FileStore(path), len(descriptors())
    async with AsyncExitStack() as stack:
        for number in range(300):
            await stack.enter_async_context(store.refresh_lock(f"key {number}"))
        assert len(descriptors()) == before + 1
        assert [file.name for file in path.parent.iterdir()] == ["tokens.json.lock"]
    assert len(descriptors()) == before


HOLD = """
import asyncio, sys
from nexudus_async.stores import FileStore, _file, _file_locks
_file.locks_beside = getattr(_file_locks, sys.argv[2])
async def main():
    async with FileStore(sys.argv[1]).refresh_lock("a"):
        print("ready", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.fleet
async def test_the_lock_of_a_killed_process_is_free(store: FileStore, path: Path, kind: str) -> None:
    """The operating system gives the lock back, at once; what the process left behind is in nobody's way."""
    with python(HOLD, str(path), kind) as process:
        assert not await try_lock(store, "a")
        assert await try_lock(store, "b")
        kill(process)
        assert await try_lock(store, "a")
    assert files_beside(path) == set()


async def test_two_event_loops_of_a_process_exclude_each_other(store: FileStore) -> None:
    """Each has its own descriptor, or its own lock object; one store serves both."""
    async with store.refresh_lock("a"):
        assert not await asyncio.to_thread(lambda: asyncio.run(try_lock(store, "a")))
        assert await asyncio.to_thread(lambda: asyncio.run(try_lock(store, "b")))
    assert await asyncio.to_thread(lambda: asyncio.run(try_lock(store, "a")))


async def test_a_symbolic_link_in_the_lock_files_place_is_refused(store: FileStore, path: Path, tmp_path: Path) -> None:
    """What it points to is neither emptied nor locked."""
    target = tmp_path / "precious"
    target.write_text("precious")
    path.with_name("tokens.json.lock").symlink_to(target)
    with pytest.raises(StoreError, match=r"tokens\.json: "):
        await store.save("a", ONE)
    with pytest.raises(StoreError, match=r"tokens\.json: "):
        async with store.refresh_lock("a"):
            pytest.fail("no lock can be there")
    assert target.read_text() == "precious"


@linux
async def test_a_lock_file_that_was_removed_is_made_again(path: Path) -> None:
    """Others lock the new one, so this process must not go on with the old; what it holds there, it gives back."""
    store = FileStore(path)
    async with store.refresh_lock("a"):
        path.with_name("tokens.json.lock").unlink()
        async with store.refresh_lock("b"):
            assert not await try_lock(store, "a")
            assert not await asyncio.to_thread(lambda: asyncio.run(try_lock(FileStore(path), "b")))
    assert await try_lock(store, "a")


@linux
def test_giving_a_lock_back_frees_it_though_its_descriptor_was_copied(path: Path) -> None:
    """A child that was forked meanwhile has a copy of it, and may live on."""
    locks, others = RangeLocks(path), RangeLocks(path)
    claim, other = Claim("a"), Claim("a")
    assert locks.take(claim)
    (descriptor,) = [link for link in descriptors() if link.is_symlink() and link.readlink().suffix == ".lock"]
    copy = os.dup(int(descriptor.name))
    try:
        assert not others.take(other)
        locks.give_back(claim)
        assert others.take(other)
    finally:
        os.close(copy)
        others.give_back(other)


@linux
def test_an_event_loop_that_is_dropped_leaves_its_locks_free(path: Path) -> None:
    """Nobody is left to give them back."""
    locks, others, other = RangeLocks(path), RangeLocks(path), Claim("a")
    assert locks.take(Claim("a"))
    assert not others.take(other)
    del locks
    assert others.take(other)
    others.give_back(other)


@pytest.mark.parametrize("make", [pytest.param(RangeLocks, marks=linux), FileLocks])
def test_a_claim_that_was_given_back_gets_no_lock(path: Path, make: Callable[[Path], RangeLocks | FileLocks]) -> None:
    """Its thread was stuck, and nobody waits for it any more; nor does giving back free what another one holds."""
    locks, late, holder = make(path), Claim("a"), Claim("a")
    locks.give_back(late)
    assert not locks.take(late)
    assert locks.take(holder)
    locks.give_back(late)
    assert not make(path).take(Claim("a"))
    locks.give_back(holder)
    assert make(path).take(Claim("a"))


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """While it is not set, whoever takes a range lock gets it, but does not come back."""
    import fcntl

    free, control = threading.Event(), fcntl.fcntl

    def slow(descriptor: int, command: int, lock: bytes) -> Any:
        done = control(descriptor, command, lock)
        if struct.unpack_from("@h", lock)[0] == fcntl.F_WRLCK:
            free.wait(20)
        return done

    monkeypatch.setattr(fcntl, "fcntl", slow)
    yield free
    free.set()


@linux
async def test_a_lock_that_is_won_after_its_waiter_has_gone_is_given_back(path: Path, stuck: threading.Event) -> None:
    """The waiter is cancelled while its thread is stuck: it leaves soon, and the thread takes care of the lock."""
    store, started = FileStore(path), time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), store.refresh_lock("a"):
            pytest.fail("the answer has not come")
    assert time.monotonic() - started < 2
    stuck.set()
    async with asyncio.timeout(5), store.refresh_lock("a"):
        assert not await asyncio.to_thread(lambda: asyncio.run(try_lock(FileStore(path), "a")))


LOCK = """
import sys, time
from pathlib import Path
from nexudus_async.stores._file_locks import locks_beside, writing
path = Path(sys.argv[1])
with writing(locks_beside(path), path):
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.fleet
async def test_another_process_that_does_not_stop_writing_is_an_error_and_blocks_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a save waits for the write lock the event loop runs, loads are served, and the wait has an end."""
    monkeypatch.setattr("nexudus_async.stores._file_locks.WRITE_WAIT", 0.3)
    store = FileStore(path)
    await store.save("a", ONE)
    with python(LOCK, str(path)):
        started, beats = time.monotonic(), 0
        save = asyncio.create_task(store.save("a", TWO))
        while not save.done():
            await asyncio.sleep(0.01)
            beats += 1
        with pytest.raises(StoreError, match="holds its write lock"):
            await save
        assert 0.2 < time.monotonic() - started < 2
        assert beats > 10
        assert await store.load("a") == ONE
