"""Reading and replacing a file that only its owner may write. Blocking: for worker threads."""

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from errno import EBUSY, ENOENT
from pathlib import Path
from typing import BinaryIO

from nexudus_async.errors import StoreError

MODE = 0o600
FOLDER_MODE = 0o700
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH

# Absent on Windows, which has neither these dangers in this form nor the modes to check.
NO_SYMLINK = getattr(os, "O_NOFOLLOW", 0)
NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a named pipe would wait for its writer
BINARY = getattr(os, "O_BINARY", 0)


def read(path: Path) -> bytes | None:
    """Return the content of `path`, or None when there is no file. Raises `StoreError` as `opened` does."""
    with opened(path) as file:
        return None if file is None else file.read()


@contextmanager
def opened(path: Path, *, to_write: bool = False) -> Generator[BinaryIO | None, None, None]:
    """Open `path`, to be read or to be written over; None when there is no file.

    Raises `StoreError` for a file that someone else owns or may write, and for what is not a file: a symbolic link
    would be followed here and replaced by `replace`, which is not what whoever made it wants.
    """
    if path.is_symlink():
        raise StoreError(f"{path} is a symbolic link: name the file it points to")
    descriptor = _open(path, os.O_WRONLY if to_write else os.O_RDONLY)
    if descriptor is None:
        yield None
        return
    try:
        _refuse_untrusted(path, os.fstat(descriptor))
        with os.fdopen(descriptor, "wb" if to_write else "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def _open(path: Path, flags: int) -> int | None:
    try:
        return os.open(path, flags | NO_SYMLINK | NO_WAIT | BINARY)
    except FileNotFoundError:
        return None


def _refuse_untrusted(path: Path, status: os.stat_result) -> None:
    # Tokens that someone else could have planted would make this process work on that person's account.
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path} is not a regular file")
    if os.name != "posix":
        return
    if status.st_uid != os.geteuid():
        raise StoreError(f"{path} belongs to another user: remove it, or name another file")
    if status.st_mode & OTHERS_MAY_WRITE:
        raise StoreError(f"{path} can be written by other users: chmod 600 it if its tokens are yours, else remove it")


def make_folder(path: Path) -> None:
    """Create the folder `path`, and those above it that are missing, for this user only."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(FOLDER_MODE, exist_ok=True)


def pending_path(path: Path) -> Path:
    """Return where `replace` keeps the new content while it writes over `path` in place: complete, and newer."""
    return path.with_name(f"{path.name}.pending")


def replace(path: Path, content: bytes) -> os.stat_result | None:
    """Put `content` in the place of the file `path`: a reader, or a crash at any point, sees the old or the new one.

    Return what the new file looks like; or None where the file cannot be replaced, because it is itself a mount point,
    as a single file bound into a container is. Then it is written over in place: a crash in the middle leaves it torn,
    and the whole of the new content at `pending_path`. Raises `StoreError` when that fails, too.

    Call it under a lock: the temporary file has a fixed name, so that a killed writer leaves one, not many.
    """
    temporary, pending = path.with_name(f"{path.name}.new"), pending_path(path)
    try:
        status = _write_new(temporary, content)
        replaced = _rename(temporary, path)
        if not replaced:
            temporary.replace(pending)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    if not replaced:
        _write_over(path, content)
    pending.unlink(missing_ok=True)
    return status if replaced else None


def _write_new(path: Path, content: bytes) -> os.stat_result:
    path.unlink(missing_ok=True)
    # O_EXCL: the file is new and ours, so its mode holds before the first byte is in it.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
        return os.fstat(descriptor)


def _rename(temporary: Path, path: Path) -> bool:
    try:
        temporary.replace(path)
    except OSError as exc:
        if exc.errno != EBUSY:
            raise
        return False
    return True


def _write_over(path: Path, content: bytes) -> None:
    try:
        with opened(path, to_write=True) as file:
            if file is None:
                raise FileNotFoundError(ENOENT, os.strerror(ENOENT))
            if os.name == "posix":
                os.fchmod(file.fileno(), MODE)
            file.write(content)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        raise StoreError(
            f"{path} is a mount point: it cannot be replaced, nor written in place ({exc.strerror}). "
            "Mount the folder it is in, not the file"
        ) from exc


def _sync_folder(folder: Path) -> None:
    # Without it the rename may be lost with the machine's power, and a refresh token that was already spent comes back.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
