"""The locks of a file store: one to write under, and one for each key. Blocking, never for long: for worker threads.

On Linux all are byte ranges of ONE file beside the store's, each at an offset of its own, held through one descriptor:
"open file description locks", fcntl(2). They exclude other processes and other event loops, whose descriptor is
another, and the operating system frees them with the last copy of the descriptor, however their holder ends. Within an
event loop the table of what is held excludes. No account adds a file or a descriptor.

Elsewhere filelock locks a file for each, and the file of a key is removed when its lock is given back: taken and
removed under the lock to write under, because whoever opened a file that is removed has a lock that nobody else sees.
"""

import hashlib
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nexudus_async.errors import StoreError

from ._private_file import MODE, NO_SYMLINK, NO_WAIT, make_folder

if TYPE_CHECKING:
    from filelock import BaseFileLock

if sys.platform == "linux":  # macOS has them too, of another form, and not everywhere
    import fcntl

WRITE_WAIT = 2.5
"""Seconds to wait for another process that writes, which takes milliseconds: longer, and it is stopped or stuck."""
WRITE_POLL = 0.005
"""Seconds between two attempts at it."""


class Claim:
    """What one holder wants: a key's lock, or None for the one to write under."""

    def __init__(self, key: str | None) -> None:
        self.name = None if key is None else hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:32]
        self.over = False
        """Set when the holder wants it no more: a thread that was stuck must not take it afterwards."""
        self.may_be_held = False


class Locks(Protocol):
    """What `FileStore` needs of either kind."""

    def take(self, claim: Claim) -> bool:
        """Take the lock if nobody has it, and tell. Raises `OSError` or `StoreError`."""
        ...

    def give_back(self, claim: Claim) -> None:
        """Free the lock, if `claim` has it; a claim that was given back gets it never again."""
        ...


@contextmanager
def writing(locks: Locks, path: Path) -> Generator[None, None, None]:
    """Hold the lock to write under. Raises `StoreError` when another process does not give it back."""
    claim, end = Claim(None), time.monotonic() + WRITE_WAIT
    try:
        while not locks.take(claim):
            if time.monotonic() >= end:
                raise StoreError(f"{path}: another process holds its write lock")
            time.sleep(WRITE_POLL)
        yield
    finally:
        locks.give_back(claim)


def locks_beside(path: Path) -> Locks:
    """Return the locks of the store's file `path`, of the kind that the system has."""
    return RangeLocks(path) if sys.platform == "linux" else FileLocks(path)


class RangeLocks:
    """Byte ranges of the file `path` + ".lock", for one event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}.lock")
        self._guard = threading.Lock()
        self._descriptor = -1
        self._held: dict[int, tuple[Claim, int]] = {}

    def take(self, claim: Claim) -> bool:
        claim.may_be_held = True
        claim.may_be_held = self._take(claim, _offset(claim))
        return claim.may_be_held

    def _take(self, claim: Claim, offset: int) -> bool:
        with self._guard:
            if claim.over or offset in self._held:
                return False
            descriptor = self._open()
            try:
                taken = _set_range(descriptor, offset, held=True)
                if taken:
                    self._held[offset] = claim, descriptor
            finally:
                self._close_unused(descriptor)
            return taken

    def give_back(self, claim: Claim) -> None:
        claim.over = True
        offset = _offset(claim)
        with self._guard:
            holder, descriptor = self._held.get(offset, (None, -1))
            if holder is claim:
                del self._held[offset]
                try:
                    _set_range(descriptor, offset, held=False)  # a forked child may have a copy of the descriptor
                finally:
                    self._close_unused(descriptor)

    def _open(self) -> int:
        if self._descriptor >= 0 and not self._is_there(self._descriptor):
            self._descriptor = -1  # someone removed the file: others lock the new one. The old serves its holders
        if self._descriptor < 0:
            make_folder(self._path.parent)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | NO_SYMLINK | NO_WAIT, MODE)
        return self._descriptor

    def _is_there(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.lstat())
        except FileNotFoundError:
            return False

    def _close_unused(self, descriptor: int) -> None:
        if all(descriptor != used for _, used in self._held.values()):
            if self._descriptor == descriptor:
                self._descriptor = -1
            os.close(descriptor)

    def __del__(self) -> None:
        for descriptor in {used for _, used in self._held.values()}:  # of an event loop that was dropped, not ended
            os.close(descriptor)


def _offset(claim: Claim) -> int:
    """Return the claim's byte: 0 to write under, else one of 2**62, so that no two keys ever share one."""
    return 0 if claim.name is None else 1 + (int(claim.name[:16], 16) >> 2)


def _set_range(descriptor: int, offset: int, *, held: bool) -> bool:
    """Lock or unlock one byte; tell whether that could be done. It need not exist in the file."""
    assert sys.platform == "linux"
    kind = fcntl.F_WRLCK if held else fcntl.F_UNLCK
    lock = struct.pack("@hhqqi0q", kind, os.SEEK_SET, offset, 1, 0)  # struct flock; the 0q pads it as the compiler does
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: another one has it
        return False
    return True


class FileLocks:
    """A lock file for each lock, by filelock."""

    def __init__(self, path: Path) -> None:
        from filelock import FileLock  # noqa: PLC0415 - an extra

        self._path = path
        # Not thread-local: taken in one worker thread, given back in another. A new one each time: never reentrant.
        self._new: Callable[[Path], BaseFileLock] = partial(FileLock, mode=MODE, thread_local=False)
        self._held: dict[Claim, BaseFileLock] = {}

    def take(self, claim: Claim) -> bool:
        make_folder(self._path.parent)
        if claim.name is None:
            return self._try(claim)
        claim.may_be_held = True
        with writing(self, self._path):
            claim.may_be_held = self._try(claim)
        if claim.over:  # given back meanwhile, by another thread, which may not have found it
            self.give_back(claim)
            claim.may_be_held = False
        return claim.may_be_held

    def give_back(self, claim: Claim) -> None:
        claim.over = True
        lock = self._held.pop(claim, None)
        if lock is None:
            return
        if claim.name is None:
            lock.release()
            return
        with suppress(StoreError), writing(self, self._path):
            lock.release()
            self._file_of(claim).unlink(missing_ok=True)
        lock.release()  # if there was no way to remove its file

    def _try(self, claim: Claim) -> bool:
        lock = self._new(self._file_of(claim))
        try:
            lock.acquire(blocking=False)
        except TimeoutError:  # filelock's Timeout is one
            return False
        self._held[claim] = lock
        return True

    def _file_of(self, claim: Claim) -> Path:
        suffix = "lock" if claim.name is None else f"{claim.name}.lock"
        return self._path.with_name(f"{self._path.name}.{suffix}")
