"""A store's file that cannot be replaced, because it is itself mounted: written in place, and never lost."""

# ruff: noqa: ASYNC240 - the tests look at files while nothing else runs

import asyncio
import json
import logging
import os
import shutil
import stat
import subprocess
import sys
import traceback
from errno import EBUSY, ENOSPC
from pathlib import Path

import pytest

from nexudus_async.errors import StoreError
from nexudus_async.stores import FileStore, StoredToken

from .processes import python

ONE, TWO = StoredToken(1, "one"), StoredToken(2, "two")
LONG = StoredToken(3, "long " * 1000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.json"
    path.touch(mode=0o600)
    path.write_text('{"records": {}}')
    return path


@pytest.fixture
def mounted(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody can rename anything to this path."""
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if target == path:
            raise OSError(EBUSY, os.strerror(EBUSY))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    return path


def left_over(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()} - {path.name, f"{path.name}.lock"}


async def test_it_is_written_in_place(mounted: Path) -> None:
    """The same file, longer or shorter than before, private, and nothing is left beside it."""
    store, inode = FileStore(mounted), mounted.stat().st_ino
    mounted.chmod(0o644)
    for record in (ONE, LONG, StoredToken(4, "short")):
        await store.save("a", record)
        assert await FileStore(mounted).load("a") == record
        json.loads(mounted.read_text())
    assert mounted.stat().st_ino == inode
    assert stat.S_IMODE(mounted.stat().st_mode) == 0o600
    assert left_over(mounted) == set()


async def test_it_is_told_once(mounted: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What to do is in the warning."""
    store = FileStore(mounted)
    await store.save("a", ONE)
    await store.save("a", TWO)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "Mount the folder it is in, not the file" in warnings[0].getMessage()


async def test_where_that_fails_too_the_error_says_what_to_do(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full, for one."""

    def full(descriptor: int, mode: int) -> None:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(StoreError, match=r"mount point.*No space left.*Mount the folder") as caught:
        await FileStore(mounted).save("a", StoredToken(1, "hunter".upper()))
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "HUNTER" not in "".join(shown.format())


async def test_what_is_written_in_place_is_on_the_disk_before_the_copy_goes(
    mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power cut takes both."""
    synced: list[int] = []
    gone: list[bool] = []
    unlink = Path.unlink

    def remove(self: Path, missing_ok: bool = False) -> None:
        if self.name.endswith(".pending"):
            gone.append(mounted.stat().st_ino in synced)
        unlink(self, missing_ok=missing_ok)

    def note(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(Path, "unlink", remove)
    await FileStore(mounted).save("a", ONE)
    assert gone == [True]


async def test_foreign_content_is_kept_aside_here_too(mounted: Path) -> None:
    """It is copied, since it cannot be moved."""
    mounted.write_text("precious")
    await FileStore(mounted).save("a", ONE)
    assert await FileStore(mounted).load("a") == ONE
    assert mounted.with_name("tokens.json.unreadable").read_text() == "precious"


CRASH = """
import asyncio, errno, os, sys
from pathlib import Path
from nexudus_async.stores import FileStore, StoredToken

path, moment = Path(sys.argv[1]), sys.argv[2]
replace, unlink = Path.replace, Path.unlink

def refuse(self, target):
    if target == path:
        raise OSError(errno.EBUSY, "busy")
    return replace(self, target)

def die_before_writing(descriptor, mode):
    if moment == "torn":
        os.write(descriptor, b'{"id": "0123456789abcdef", "records": {"a": {"generation": 2, "payl')
    if moment != "written":
        os._exit(9)

def die_when_written(self, **options):
    if self.name.endswith(".pending"):
        os._exit(9)
    unlink(self, **options)

Path.replace, Path.unlink, os.fchmod = refuse, die_when_written, die_before_writing
asyncio.run(FileStore(path).save("a", StoredToken(2, "two")))
"""


@pytest.mark.fleet
@pytest.mark.parametrize("moment", ["not begun", "torn", "written"])
@pytest.mark.parametrize("still_mounted", [True, False])
async def test_a_crash_in_the_middle_loses_nothing(
    path: Path, request: pytest.FixtureRequest, moment: str, still_mounted: bool
) -> None:
    """The old refresh token may be spent by then: the new record is found by the next load, beside the others."""
    await FileStore(path).save("a", ONE)
    await FileStore(path).save("b", ONE)
    command = [sys.executable, "-c", CRASH, str(path), moment]
    process = await asyncio.to_thread(subprocess.run, command, check=False, timeout=20)
    assert process.returncode == 9
    assert left_over(path) == {"tokens.json.pending"}
    if still_mounted:
        request.getfixturevalue("mounted")
    store = FileStore(path)
    assert [await store.load(key) for key in "ab"] == [TWO, ONE]
    await store.save("c", ONE)
    assert left_over(path) == set()
    assert [await FileStore(path).load(key) for key in "abc"] == [TWO, ONE, ONE]


@pytest.mark.parametrize(("pending", "found"), [(LONG, LONG), (ONE, TWO)])
async def test_what_a_crash_left_long_ago_replaces_nothing_newer(
    path: Path, pending: StoredToken, found: StoredToken
) -> None:
    """Another container, which does not see it, may have gone on."""
    await FileStore(path).save("a", pending)
    path.rename(path.with_name("tokens.json.pending"))
    path.touch(mode=0o600)
    path.write_text(json.dumps({"records": {"a": {"generation": 2, "payload": "two"}}}))
    assert await FileStore(path).load("a") == found


async def test_garbage_beside_it_is_in_nobodys_way(path: Path) -> None:
    """What is whole counts."""
    await FileStore(path).save("a", ONE)
    beside = path.with_name("tokens.json.pending")
    beside.touch(mode=0o600)
    beside.write_text("nonsense")
    assert await FileStore(path).load("a") == ONE
    await FileStore(path).save("a", TWO)
    assert await FileStore(path).load("a") == TWO
    assert left_over(path) == set()


WRITE = """
import asyncio, errno, sys
from pathlib import Path
from nexudus_async.stores import FileStore, StoredToken
path, replace = Path(sys.argv[1]), Path.replace
def refuse(self, target):
    if target == path:
        raise OSError(errno.EBUSY, "busy")
    return replace(self, target)
Path.replace = refuse
async def main():
    store = FileStore(path)
    for generation in range(1, 100_000):
        await store.save("a", StoredToken(generation, str(generation) * (generation % 7) * 10_000))
        if generation == 3:
            print("ready", flush=True)
asyncio.run(main())
"""


@pytest.mark.fleet
async def test_who_reads_while_it_is_written_reads_the_old_or_the_new(path: Path) -> None:
    """Never half of each, and never an older one than before."""
    store, seen = FileStore(path), [0]
    with python(WRITE, str(path)):
        async with asyncio.timeout(20):
            while len(set(seen)) < 30:
                record = await store.load("a")
                assert record is not None
                assert record.payload == str(record.generation) * (record.generation % 7) * 10_000
                seen.append(record.generation)
    assert seen == sorted(seen)


REAL = """
set -e
mount --bind "$1/mine.json" "$1/tokens.json"
"$2" -W ignore -c "$3" "$1/tokens.json"
"""
SAVE = """
import asyncio, sys
from nexudus_async.stores import FileStore, StoredToken
async def main():
    store = FileStore(sys.argv[1])
    await store.save("a", StoredToken(1, "one"))
    await store.save("a", StoredToken(2, "two"))
    print((await FileStore(sys.argv[1]).load("a")).payload)
asyncio.run(main())
"""


def can_mount() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    command = ["unshare", "--user", "--map-root-user", "--mount", "mount", "--bind", "/tmp", "/tmp"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.fleet
@pytest.mark.skipif(not can_mount(), reason="this system lets nobody mount a file")
async def test_a_file_that_is_really_mounted(path: Path) -> None:
    """As a container has it: what is saved there is in the file outside."""
    mine = path.with_name("mine.json")
    mine.touch(mode=0o600)
    mine.write_text('{"records": {}}')
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", REAL, "sh"]
    process = await asyncio.to_thread(
        subprocess.run, [*command, str(path.parent), sys.executable, SAVE], capture_output=True, text=True, check=False
    )
    assert (process.stdout, process.stderr) == ("two\n", "")
    assert await FileStore(mine).load("a") == TWO
    assert await FileStore(path).load("a") is None
