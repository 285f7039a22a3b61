"""Records in one file, for the processes of one user on one machine."""

import hashlib
import json
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import anyio.to_thread
from anyio.lowlevel import RunVar

from nexudus_async.errors import ConfigurationError, StoreError

from . import _private_file
from ._foreign import extra, without_frames
from ._protocol import StoredToken
from ._record import from_plain, parse, to_plain
from ._tasks import finish, poll

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["FileStore"]

T = TypeVar("T")

WRITE_LOCK_WAIT = 5.0
"""Seconds to wait for another process that writes, which takes milliseconds: longer, and it is stopped or stuck."""
WRITE_LOCK_POLL = 0.01
"""Seconds between two attempts at it."""
THREADS = 4
"""Worker threads of this module, by event loop: anyio's shared ones are not ours to fill with waiting."""

# In quotes: the first look at a name of anyio loads the half of it that importing this package does not need.
_limiter: "RunVar[anyio.CapacityLimiter]" = RunVar("nexudus_async.stores.file")


class FileStore:
    """Keeps the records in the JSON file `path`, by key. Needs the extra `file`.

    path: a file in a local file system; `~` is the home folder. Missing folders are made, for this user only.

    Locks are files beside it and stay there: one to write under, one for each key's refresh lock. The operating
    system frees them when their holder dies. The file is written with mode 0600, whole or not at all.

    Raises `StoreError` for a file that others may write, that another user owns or that is a symbolic link, and for
    content that is not a store's, which the next `save` or `clear` moves aside, to `path` + ".unreadable".
    Cancelling `save` or `clear` takes effect when the file is written. Raises `ConfigurationError` without filelock.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        with extra("file"):
            from filelock import FileLock  # noqa: PLC0415 - an extra
        if not os.fspath(path):
            raise ConfigurationError("FileStore needs the path of a file, such as '~/.local/state/nexudus/tokens.json'")
        self._path = Path(path).expanduser().absolute()
        # Not thread-local: taken in one worker thread, given back in another. A new one each time: never reentrant.
        self._new_lock: Callable[[Path], BaseFileLock] = partial(FileLock, mode=_private_file.MODE, thread_local=False)

    async def load(self, key: str) -> StoredToken | None:
        return await self._in_thread(partial(self._load, key))

    async def save(self, key: str, record: StoredToken) -> None:
        await self._in_thread(partial(self._save, key, record))

    async def clear(self, key: str) -> None:
        await self._in_thread(partial(self._clear, key))

    @asynccontextmanager
    async def refresh_lock(self, key: str) -> AsyncGenerator[None, None]:
        lock = self._new_lock(self._beside(f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.lock"))
        try:
            await poll(lambda: self._in_thread(partial(self._try, lock)))
            yield
        finally:
            if lock.is_locked:
                with suppress(StoreError):
                    await self._in_thread(lock.release)

    def __repr__(self) -> str:
        return f"<FileStore {str(self._path)!r}>"

    async def _in_thread(self, work: Callable[[], T]) -> T:
        # `finish`, because a thread cannot be cancelled: a write must not land after the caller has gone on to `clear`.
        return await finish(_run(partial(self._translated, work)))

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except StoreError as exc:
            raise without_frames(exc)  # noqa: B904 - the same error
        except OSError as exc:
            raise StoreError(f"{self._path}: {exc.strerror or type(exc).__name__}") from without_frames(exc)

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{suffix}")

    def _load(self, key: str) -> StoredToken | None:
        records = self._read()
        if records is None:
            raise StoreError(f"{self._path} is not a token store's file; the next save replaces it")
        if key not in records:
            return None
        try:
            return from_plain(records[key])
        except ValueError:
            raise StoreError(f"{self._path} holds a record that cannot be read; the next save replaces it") from None

    def _save(self, key: str, record: StoredToken) -> None:
        def put(records: dict[str, object]) -> bool:
            with suppress(ValueError):
                if from_plain(records.get(key)).generation > record.generation:
                    return False
            records[key] = to_plain(record)
            return True

        self._change(put)

    def _clear(self, key: str) -> None:
        def drop(records: dict[str, object]) -> bool:
            present = key in records
            records.pop(key, None)
            return present

        self._change(drop)

    def _change(self, edit: Callable[[dict[str, object]], bool]) -> None:
        """Apply `edit` to the records and, when it returns True, write them, with no other writer in between."""
        _private_file.make_folder(self._path.parent)
        lock = self._new_lock(self._beside("lock"))
        with self._acquired(lock):
            records = self._read()
            if records is None:
                self._path.replace(self._beside("unreadable"))  # a path mistyped must not cost its owner the file
                records = {}
            if edit(records):
                _private_file.replace(self._path, json.dumps({"records": records}, indent=1).encode())

    def _acquired(self, lock: "BaseFileLock") -> AbstractContextManager[object]:
        try:
            return lock.acquire(timeout=WRITE_LOCK_WAIT, poll_interval=WRITE_LOCK_POLL)
        except TimeoutError as exc:  # filelock's Timeout is one
            raise StoreError(f"{self._path}: another process holds its write lock") from exc

    def _read(self) -> dict[str, object] | None:
        """Return the records, none when there is no file, or None for a file with other content."""
        content = _private_file.read(self._path)
        if content is None:
            return {}
        try:
            document = parse(content)
        except ValueError:
            return None
        records = cast("dict[str, object]", document).get("records") if isinstance(document, dict) else None
        return cast("dict[str, object]", records) if isinstance(records, dict) else None

    def _try(self, lock: "BaseFileLock") -> bool:
        _private_file.make_folder(self._path.parent)
        try:
            lock.acquire(blocking=False)
        except TimeoutError:
            return False
        return True


async def _run(work: Callable[[], T]) -> T:
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(THREADS)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(work, limiter=limiter)
