"""What a file adds to the contract: who may touch it, and what a crash leaves behind."""

# ruff: noqa: ASYNC240 - the tests look at files while nothing else runs

import asyncio
import json
import os
import pickle
import stat
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nexudus_async.errors import ConfigurationError, StoreError
from nexudus_async.stores import FileStore, StoredToken

from .processes import kill, python

ONE = StoredToken(1, "one")
TWO = StoredToken(2, "two")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture
def store(path: Path) -> FileStore:
    return FileStore(path)


@contextmanager
def umask(mask: int) -> Generator[None, None, None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


BAD_PATHS = ["", "a\0b", "\ud800", "/", "~nobody-has-this-name/tokens.json", None, 7, b"tokens.json", ["a"], FileStore]


@pytest.mark.parametrize("bad", BAD_PATHS, ids=range(len(BAD_PATHS)))
def test_what_cannot_be_the_path_of_a_file_is_a_configuration_error(bad: Any) -> None:
    """At once, not with the first token. An empty path, perhaps of an unset variable, would be the current folder."""
    with pytest.raises(ConfigurationError, match="path of a file"):
        FileStore(bad)


def test_a_store_can_be_handed_to_another_process(store: FileStore) -> None:
    """It holds nothing but its path."""
    assert repr(pickle.loads(pickle.dumps(store))) == repr(store)


async def test_nothing_here_can_be_read_by_others_from_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the most careless umask, the file, its temporary file and the locks are 0600 and new folders 0700."""
    folder = tmp_path / "a" / "b"
    path = folder / "tokens.json"
    before_renaming: list[int] = []
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        before_renaming.extend(mode(file) for file in folder.iterdir())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with umask(0):
        store = FileStore(path)
        async with store.refresh_lock("a"):
            await store.save("a", ONE)
    assert (mode(tmp_path / "a"), mode(folder)) == (0o700, 0o700)
    assert set(before_renaming) == {0o600}
    assert {mode(file) for file in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("bits", [0o620, 0o602, 0o622, 0o666])
async def test_a_file_that_others_can_write_is_refused(store: FileStore, path: Path, bits: int) -> None:
    """Its tokens may be planted: they are neither used nor kept, and what to do is said."""
    await store.save("a", ONE)
    path.chmod(bits)
    for refused in (store.load("a"), store.save("a", TWO), store.clear("a")):
        with pytest.raises(StoreError, match="chmod 600"):
            await refused
    path.chmod(0o600)
    assert await store.load("a") == ONE


async def test_a_file_that_others_can_read_is_private_after_the_next_save(store: FileStore, path: Path) -> None:
    """It is read, since nobody else wrote it, and its mode is put right."""
    await store.save("a", ONE)
    path.chmod(0o644)
    assert await store.load("a") == ONE
    await store.save("a", TWO)
    assert mode(path) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_a_file_of_another_user_is_refused(store: FileStore, path: Path) -> None:
    """Also by root, for whom any user could plant tokens."""
    await store.save("a", ONE)
    os.chown(path, 12345, -1)
    with pytest.raises(StoreError, match="another user"):
        await store.load("a")
    with pytest.raises(StoreError, match="another user"):
        await store.save("a", TWO)


@pytest.mark.parametrize("exists", [True, False])
async def test_a_symbolic_link_is_refused(tmp_path: Path, path: Path, exists: bool) -> None:
    """It would be followed to read and replaced to write, which nobody can want."""
    target = tmp_path / "target.json"
    if exists:
        await FileStore(target).save("a", ONE)
    path.symlink_to(target)
    for refused in (FileStore(path).load("a"), FileStore(path).save("a", TWO)):
        with pytest.raises(StoreError, match="is a symbolic link"):
            await refused
    assert path.is_symlink()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
async def test_what_is_not_a_file_is_refused_without_waiting(store: FileStore, path: Path, make: object) -> None:
    """A folder, or a pipe whose writer never comes."""
    assert callable(make)
    make(path)
    async with asyncio.timeout(5):
        with pytest.raises(StoreError, match="not a regular file"):
            await store.load("a")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"records": []}', b"\xff\xfe", b"[" * 100_000, b"hunter2"])
async def test_foreign_content_is_reported_and_moved_aside(store: FileStore, path: Path, content: bytes) -> None:
    """A mistyped path costs its owner nothing, and the error shows nothing of what is in the file."""
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"tokens\.json is not a token store's file") as caught:
        await store.load("a")
    assert "hunter2" not in str(caught.value)
    await store.save("a", ONE)
    assert await store.load("a") == ONE
    assert path.with_name("tokens.json.unreadable").read_bytes() == content


async def test_one_bad_record_harms_no_other(store: FileStore, path: Path) -> None:
    """A record that cannot be read is an error for its own key, until it is replaced."""
    await store.save("a", ONE)
    document = json.loads(path.read_text())
    document["records"]["b"] = {"generation": True, "payload": "x"}
    path.write_text(json.dumps(document))
    assert await store.load("a") == ONE
    with pytest.raises(StoreError, match="record that cannot be read"):
        await store.load("b")
    await store.save("a", TWO)
    await store.save("b", ONE)
    assert [await store.load(key) for key in "ab"] == [TWO, ONE]


async def test_a_record_that_is_null_can_be_cleared(store: FileStore, path: Path) -> None:
    """It is there, and cannot be read."""
    path.touch(mode=0o600)
    path.write_text('{"records": {"a": null}}')
    with pytest.raises(StoreError, match="record that cannot be read"):
        await store.load("a")
    await store.clear("a")
    assert await store.load("a") is None


async def test_what_the_system_refuses_is_a_store_error(tmp_path: Path) -> None:
    """A folder that cannot be made, read or locked in is told by its path and reason."""
    (tmp_path / "file").touch()
    store = FileStore(tmp_path / "file" / "tokens.json")
    for refused in (store.load("a"), store.save("a", ONE), store.clear("a")):
        with pytest.raises(StoreError, match=r"tokens\.json: "):
            await refused
    with pytest.raises(StoreError, match=r"tokens\.json: "):
        async with store.refresh_lock("a"):
            pytest.fail("no lock can be there")


async def test_a_failed_write_leaves_the_old_records(
    store: FileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is a `StoreError`; the file is what it was."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    await store.save("a", ONE)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left"):
            await store.save("a", TWO)
    assert {file.name for file in path.parent.iterdir()} == {"tokens.json", "tokens.json.lock"}
    assert await store.load("a") == ONE
    await store.save("a", TWO)
    assert await store.load("a") == TWO


async def test_a_file_that_may_not_be_replaced_is_not_written_in_place(
    store: FileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is for mount points only: a folder's rules are its owner's."""

    rename = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if target == path:
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    await store.save("a", ONE)
    content = path.read_bytes()
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StoreError, match="Permission denied"):
        await store.save("a", TWO)
    assert path.read_bytes() == content


async def test_no_payload_is_in_an_error_or_its_variables(
    store: FileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where a tool prints the variables of every frame, when a write fails or another record is spoilt."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    await store.save("a", StoredToken(1, "hunter2"))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError) as unsaved:
        await store.save("b", ONE)
    path.write_text(path.read_text().replace('"a"', '"b": 3, "a"'))
    with pytest.raises(StoreError) as unread:
        await store.load("b")
    for error in (unsaved.value, unread.value):
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        assert "hunter2" not in "".join(shown.format())


async def test_a_path_is_kept_when_the_process_changes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path means what it meant when the store was made; `~` is the home folder."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    store = FileStore("tokens.json")
    monkeypatch.chdir(tmp_path / "elsewhere")
    await store.save("a", ONE)
    assert await FileStore("~/tokens.json").load("a") == ONE


WRITE = """
import asyncio, sys
from nexudus_async.stores import FileStore, StoredToken
async def main():
    store = FileStore(sys.argv[1])
    generation = int(sys.argv[2])
    while True:
        generation += 1
        await store.save("a", StoredToken(generation, str(generation) * 100_000))
        if generation == int(sys.argv[2]) + 3:
            print("ready", flush=True)
asyncio.run(main())
"""


@pytest.mark.fleet
@pytest.mark.parametrize("milliseconds", [0, 1, 3, 7, 12])
async def test_a_killed_writer_leaves_the_old_or_the_new_record(
    store: FileStore, path: Path, milliseconds: int
) -> None:
    """Killed at any point of a save, it leaves a whole file, and the next writer clears up what else it left."""
    with python(WRITE, str(path), "0") as process:
        kill(process, after=milliseconds / 1000)
    record = await store.load("a")
    assert record is not None
    assert record.generation >= 3
    assert record.payload == str(record.generation) * 100_000
    await store.save("a", StoredToken(record.generation + 1, "next"))
    assert not path.with_name("tokens.json.new").exists()
