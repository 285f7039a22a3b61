"""Reading and replacing a file that only its owner may write. Blocking: for worker threads."""

import os
import stat
from pathlib import Path

from nexudus_async.errors import StoreError

__all__ = ["make_folder", "read", "replace"]

MODE = 0o600
FOLDER_MODE = 0o700
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH

# Absent on Windows, which has neither these dangers in this form nor the modes to check.
NO_SYMLINK = getattr(os, "O_NOFOLLOW", 0)
NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a named pipe would wait for its writer
BINARY = getattr(os, "O_BINARY", 0)


def read(path: Path) -> bytes | None:
    """Return the content of `path`, or None when there is no file.

    Raises `StoreError` for a file that someone else owns or may write, and for what is not a file: a symbolic link
    would be followed here and replaced by `replace`, which is not what whoever made it wants.
    """
    if path.is_symlink():
        raise StoreError(f"{path} is a symbolic link: name the file it points to")
    try:
        descriptor = os.open(path, os.O_RDONLY | NO_SYMLINK | NO_WAIT | BINARY)
    except FileNotFoundError:
        return None
    try:
        _refuse_untrusted(path, os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


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


def replace(path: Path, content: bytes) -> None:
    """Put `content` in the place of the file `path`: a reader, or a crash at any point, sees the old or the new one.

    Call it under a lock: the temporary file has a fixed name, so that a killed writer leaves one, not many.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    # O_EXCL: the file is new and ours, so its mode holds before the first byte is in it.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # Without it the rename may be lost with the machine's power, and a refresh token that was already spent comes back.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
