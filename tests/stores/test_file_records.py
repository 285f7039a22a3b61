"""What is in a file store's file, and what a save costs."""

# ruff: noqa: ASYNC240 - the tests look at files while nothing else runs

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from nexudus_async.errors import StoreError
from nexudus_async.stores import FileStore, StoredToken, _file_records
from nexudus_async.stores._file_locks import locks_beside, writing

DAY = 86400.0
ONE, TWO = StoredToken(1, "one"), StoredToken(2, "two")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture
def store(path: Path) -> FileStore:
    return FileStore(path)


def records(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())["records"]
    return found


def rewrite(path: Path, content: dict[str, Any]) -> None:
    path.touch(mode=0o600)
    path.write_text(json.dumps({"records": content}))


async def test_a_record_says_when_it_was_saved(store: FileStore, path: Path) -> None:
    """In seconds since 1970, beside what the release before wrote: that release reads it, too."""
    before = time.time()
    await store.save("a", ONE)
    record = records(path)["a"]
    assert before <= record.pop("saved_at") <= time.time()
    assert record == {"generation": 1, "payload": "one"}


@pytest.mark.parametrize(
    ("age", "kept"), [(29.99 * DAY, True), (30.01 * DAY, False), (0, True), (-400 * DAY, True), (400 * DAY, False)]
)
async def test_a_record_ends_thirty_days_after_its_last_save(
    store: FileStore, path: Path, age: float, kept: bool
) -> None:
    """The next save of any key drops it; one that a wrong clock saved in the future is as one that is saved now."""
    rewrite(path, {"old": {"generation": 1, "payload": "one", "saved_at": time.time() - age}})
    assert await store.load("old") == ONE
    await store.save("a", ONE)
    assert set(records(path)) == ({"a", "old"} if kept else {"a"})
    assert all(record["saved_at"] <= time.time() for record in records(path).values())


async def test_saving_again_prolongs_a_record(store: FileStore, path: Path) -> None:
    """Its thirty days begin anew."""
    rewrite(path, {"a": {"generation": 1, "payload": "one", "saved_at": time.time() - 29.99 * DAY}})
    await store.save("a", ONE)
    assert time.time() - records(path)["a"]["saved_at"] < 60


async def test_a_file_of_the_release_before_is_read(store: FileStore, path: Path) -> None:
    """Its records have no time: they count as saved when the file is next written."""
    path.touch(mode=0o600)
    path.write_text('{"records": {\n "a": {\n  "generation": 1,\n  "payload": "one"\n }\n}}')
    assert await store.load("a") == ONE
    await store.save("b", TWO)
    assert [await FileStore(path).load(key) for key in "ab"] == [ONE, TWO]
    assert time.time() - records(path)["a"]["saved_at"] < 60


@pytest.mark.parametrize("saved_at", [None, "yesterday", [], True, 10**400, float("nan"), float("inf"), -1, 0])
async def test_a_time_that_is_none_harms_nothing(store: FileStore, path: Path, saved_at: object) -> None:
    """Somebody wrote it by hand."""
    rewrite(path, {"a": {"generation": 1, "payload": "one", "saved_at": saved_at}})
    assert await store.load("a") == ONE
    await store.save("b", TWO)
    assert await store.load("b") == TWO


@pytest.mark.parametrize("other", [b'"id": "0"', b'"end": "0"'])
async def test_a_file_of_two_halves_is_spoilt(store: FileStore, path: Path, other: bytes) -> None:
    """The words at its ends differ: two writers have met, or one has died."""
    await store.save("a", ONE)
    name = other.partition(b":")[0]
    content = path.read_bytes()
    start = content.index(name)
    path.write_bytes(content[:start] + other + content[start + len(name) + 20 :])
    json.loads(path.read_bytes())
    with pytest.raises(StoreError, match="not a token store's file"):
        await store.load("a")


async def test_a_file_that_looks_the_same_but_for_its_word_is_read_again(store: FileStore, path: Path) -> None:
    """Inode, size and time may repeat within a tick of the clock: another process has written."""
    await store.save("a", ONE)
    await store.load("a")
    status, content = path.stat(), path.read_text()
    word = json.loads(content)["id"]
    path.write_text(content.replace(word, "f" * len(word)).replace('"one"', '"two"'))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns) == (
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
    )
    assert await store.load("a") == StoredToken(1, "two")


async def test_a_file_that_nobody_wrote_is_not_read_again(store: FileStore, path: Path) -> None:
    """After a read and after a write alike; with a thousand accounts that would be a megabyte for each load."""
    first = _file_records.load(path, None)
    written = _file_records.change(path, [_file_records.put("a", ONE)], first)
    assert _file_records.load(path, written) is written
    read = _file_records.load(path, None)
    assert read is not written
    assert _file_records.load(path, read) is read


@pytest.mark.parametrize("objects", [1, 200])
async def test_saves_that_come_together_are_written_together(
    path: Path, monkeypatch: pytest.MonkeyPatch, objects: int
) -> None:
    """Two hundred accounts sign in at once, on one store or a store each: a few writes, not two hundred."""
    stores = [FileStore(path) for _ in range(objects)]
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    await asyncio.gather(*(stores[n % objects].save(f"key {n}", StoredToken(n, str(n))) for n in range(200)))
    assert len(synced) <= 2 * 10
    assert len(records(path)) == 200
    assert await FileStore(path).load("key 123") == StoredToken(123, "123")


async def test_each_of_many_saves_that_fail_together_gets_an_error_of_its_own(
    store: FileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or their tracebacks would grow on one object."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    errors = await asyncio.gather(*(store.save(f"key {n}", ONE) for n in range(5)), return_exceptions=True)
    assert {str(error) for error in errors} == {f"{path}: No space left on device"}
    assert len({id(error) for error in errors}) == 5


async def test_a_save_that_was_cancelled_before_it_was_written_is_not_written(store: FileStore, path: Path) -> None:
    """It waits for the lock of another process; the one that waits beside it is written."""
    await store.save("a", ONE)
    with writing(locks_beside(path), path):
        given_up = asyncio.create_task(store.save("a", TWO))
        patient = asyncio.create_task(store.save("b", TWO))
        await asyncio.sleep(0.05)
        given_up.cancel()
        await asyncio.wait([given_up])
        assert not patient.done()
    await patient
    assert [await store.load(key) for key in "ab"] == [ONE, TWO]
