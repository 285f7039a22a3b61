"""Records in one file, for the processes of one user on one machine."""

import asyncio
import contextvars
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar, cast
from weakref import WeakKeyDictionary, WeakValueDictionary

from nexudus_async.errors import ConfigurationError, StoreError, UnreadableRecordError, copy_of, without_frames

from . import _file_records
from ._file_locks import Claim, locks_beside, writing
from ._file_records import Content, Edit, drop, put
from ._private_file import make_folder
from ._protocol import StoredToken
from ._support import extra, finish, from_plain, poll

T = TypeVar("T")

OPERATION_LIMIT = 4.0
"""Seconds for one operation, whatever the file system does: less than the five that a manager waits for its store."""
GRACE = 0.5
"""Seconds that a write or a lock has left when its caller is cancelled: a healthy disk needs milliseconds."""
THREADS = 4
"""Worker threads for each file and event loop. A thread that is stuck in a file system that hangs counts."""


class FileStore:
    """Keeps the records in the JSON file `path`, by key. Needs the extra `file`.

    path: a file in a local file system; `~` is the home folder. Missing folders are made, for this user only.

    **The file** is written with mode 0600, whole or not at all, and synced to the disk before a save returns. A record
    that was not saved for 30 days is dropped with the next save of any. Content that is not a store's is moved aside,
    to `path` + ".unreadable", by the next save. A single file that is mounted into a container cannot be replaced: it
    is written over in place, safe against a crash, with a warning; mount its folder, or containers do not see each
    other's locks.

    **The locks** are in one file beside it, `path` + ".lock", which stays; no account adds another (without Linux's
    byte-range locks: one for each lock that is held, removed when it is given back). The operating system frees them
    when their holder dies. One account's lock holds no other's up.

    **Its limits**: a save writes the whole file, about a kilobyte for each account, and saves that come together are
    written together. With 1,000 accounts a save alone takes some 10 ms, and 1,000 at once take a second. Above some
    thousand accounts, or for more than one machine, use `RedisStore`.

    Every operation, waiting for a lock aside, ends within four seconds: on a file system that hangs it raises
    `StoreError`, and so it does for a file that others may write, that another user owns or that is a symbolic link.
    Objects on the same path share what they know; one may serve any number of tasks and event loops. Raises
    `ConfigurationError` without filelock, and for a path that cannot be one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        with extra("file"):
            # Needed only where there are no byte-range locks, missed everywhere; not imported, for that takes long.
            if find_spec("filelock") is None:
                raise ModuleNotFoundError(name="filelock")
        self._path = _checked(path)
        self._kept: _SharedFile | None = None

    async def load(self, key: str) -> StoredToken | None:
        """Return the record under `key`, or None.

        Raises `UnreadableRecordError` for content that is not a store's, and for a record that cannot be read: the next
        `save` replaces it; `StoreError` for a file that cannot be opened or trusted. Cancelling takes effect at once,
        and has none on the store.
        """
        return await self._file.load(key)

    async def save(self, key: str, record: StoredToken) -> None:
        """Keep `record`, on the disk, unless the one that is there has a higher generation.

        Raises `StoreError` when it could not be written, or, with a file system that hangs, may be written yet.
        Cancelling takes effect when the file is written, after half a second at the latest: it may or may not be.
        """
        await finish(self._file.change(put(key, record)), grace=GRACE)

    async def clear(self, key: str) -> None:
        """Forget the record under `key`, readable or not; nothing happens when there is none.

        Raises `StoreError` and is cancelled as `save`.
        """
        await finish(self._file.change(drop(key)), grace=GRACE)

    @asynccontextmanager
    async def refresh_lock(self, key: str) -> AsyncGenerator[None, None]:
        """Return the lock on `key`, exclusive among processes, event loops and tasks, free when its holder dies.

        Entering waits until the lock is free: put a deadline around it; `anyio.move_on_after(0)` only tries. Raises
        `StoreError` where no lock can be had. Cancelling leaves it free, within half a second. Not reentrant.
        """
        file, claim = self._file, Claim(key)
        try:
            await poll(lambda: finish(file.run(partial(file.locks.take, claim)), grace=GRACE))
            yield
        finally:
            claim.over = True  # a thread that is stuck in the attempt does not take it any more
            if claim.may_be_held:
                await finish(file.give_back(claim))

    def __repr__(self) -> str:
        return f"<FileStore {str(self._path)!r}>"

    def __reduce__(self) -> tuple[object, ...]:
        return FileStore, (str(self._path),)

    @property
    def _file(self) -> "_SharedFile":
        """What the running event loop knows of the file, whichever object on this path asks."""
        files = _files.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
        file = files.get(self._path)
        if file is None:
            file = files[self._path] = _SharedFile(self._path)
        self._kept = file
        return file


def _checked(path: object) -> Path:
    """Return the absolute path. Raises `ConfigurationError` for what is not the path of a file."""
    with suppress(TypeError, ValueError, OSError, RuntimeError):  # the last is for a `~` that is nobody's home
        text = os.fspath(cast("str", path))
        os.fsencode(text)
        checked = Path(text).expanduser().absolute()
        if text and "\0" not in text and checked.name:
            return checked
    raise ConfigurationError("FileStore needs the path of a file, such as '~/.local/state/nexudus/tokens.json'")


class _Change:
    """An edit that waits to be written."""

    def __init__(self, edit: Edit) -> None:
        self._edit = edit
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __call__(self, records: dict[str, object]) -> bool:
        return not self.done.done() and self._edit(records)  # done: whoever wanted it has given up

    def succeed(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, cause: StoreError) -> None:
        if not self.done.done():
            error = copy_of(cause)
            error.__cause__ = cause
            self.done.set_exception(error)


class _SharedFile:
    """One file in one event loop: what was read last, what is to be written, and the threads that do it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.locks = locks_beside(path)
        self._threads = asyncio.Semaphore(THREADS)
        self._content: Content | None = None
        self._waiting: list[_Change] = []
        self._writer: asyncio.Task[None] | None = None

    async def load(self, key: str) -> StoredToken | None:
        return await self.run(partial(self._load, key))

    async def change(self, edit: Edit) -> None:
        """Have `edit` written, together with what others want to be written at the same time."""
        change = _Change(edit)
        self._waiting.append(change)
        if self._writer is None:
            # A task of the file's own: no caller's cancellation is to end the writing of what others wait for.
            self._writer = asyncio.get_running_loop().create_task(
                self._write_all(), context=contextvars.Context(), name="nexudus_async file store"
            )
        await self._limited(change.done)

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                changes, self._waiting = self._waiting, []
                try:
                    await self.run(partial(self._write, changes))
                except StoreError as exc:
                    for change in changes:
                        change.fail(exc)
                else:
                    for change in changes:
                        change.succeed()
        finally:
            self._writer = None

    def _write(self, changes: list[_Change]) -> None:
        make_folder(self._path.parent)
        with writing(self.locks, self._path):
            self._content = _file_records.change(self._path, changes, self._content)

    def _load(self, key: str) -> StoredToken | None:
        content = _file_records.load(self._path, self._content)
        if content is None:
            raise UnreadableRecordError(f"{self._path} is not a token store's file; the next save replaces it")
        self._content = content
        if key not in content.records:
            return None
        try:
            return from_plain(content.records[key])
        except ValueError:
            raise UnreadableRecordError(
                f"{self._path} holds a record that cannot be read; the next save replaces it"
            ) from None

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread and return its result.

        Raises `StoreError` for what the system refuses, and after the limit; then the thread is left to itself.
        """
        return await self._limited(self._run(partial(self._translated, work)))

    async def give_back(self, claim: Claim) -> None:
        """Free a lock, however busy the threads are; where that takes long, go on without waiting for it."""
        work = partial(self._translated, partial(self.locks.give_back, claim))
        with suppress(StoreError):
            await self._limited(_in_thread(work, ended=lambda: None), GRACE)

    async def _limited(self, work: Awaitable[T], seconds: float | None = None) -> T:
        limit = OPERATION_LIMIT if seconds is None else seconds
        try:
            async with asyncio.timeout(limit):
                return await work
        except TimeoutError as exc:
            raise StoreError(f"{self._path}: the file system did not answer within {limit:g} s") from exc

    async def _run(self, work: Callable[[], T]) -> T:
        await self._threads.acquire()
        return await _in_thread(work, ended=self._threads.release)

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except StoreError as exc:
            raise without_frames(exc)  # noqa: B904 - the same error
        except (OSError, RuntimeError, MemoryError) as exc:  # filelock raises the second where there are no locks
            words = exc.strerror if isinstance(exc, OSError) else None
            raise StoreError(f"{self._path}: {words or type(exc).__name__}") from without_frames(exc)


async def _in_thread(work: Callable[[], T], *, ended: Callable[[], object]) -> T:
    """Run `work` in a thread, which goes on when this is cancelled; when it ends, call `ended` in the event loop.

    A thread for each, and a daemon: those of asyncio and anyio keep the process from ending while one is stuck.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def report(result: T | None, error: BaseException | None) -> None:
        ended()
        if not outcome.done():
            outcome.set_result(cast("T", result)) if error is None else outcome.set_exception(error)

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as exc:  # noqa: BLE001 - raised again where it is waited for
            error = exc
        with suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(report, result, error)

    try:
        threading.Thread(target=run, name="nexudus_async file store", daemon=True).start()
    except RuntimeError as exc:
        ended()
        raise StoreError(f"no thread to be had: {exc}") from exc
    return await outcome


_files: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[Path, _SharedFile]] = WeakKeyDictionary()
