"""What several stores need: records as JSON, libraries that may be missing, work that no cancellation cuts in two."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import anyio

from nexudus_async.errors import ConfigurationError

from ._protocol import StoredToken

T = TypeVar("T")

RECORD_TTL = 30 * 86400.0
"""Seconds a record lasts after its last save: refresh tokens and tombstones both live half of that."""
FIRST_PAUSE = 0.02
"""Seconds before the second attempt at a lock: most are held for the length of one HTTP request."""
LONGEST_PAUSE = 0.25
"""Seconds: the longer, the longer a lock that was given back is idle; the shorter, the more a thousand waiters ask."""


def to_plain(record: StoredToken) -> dict[str, object]:
    """Return the record as plain data for `json`."""
    return {"generation": record.generation, "payload": record.payload}


def from_plain(data: object) -> StoredToken:
    """Return the record that `to_plain` was given. Raises `ValueError`, which shows no data, for anything else."""
    fields = cast("dict[object, object]", data) if isinstance(data, dict) else {}
    generation, payload = fields.get("generation"), fields.get("payload")
    if not isinstance(generation, int) or isinstance(generation, bool) or not isinstance(payload, str):
        raise ValueError("not a record")
    return StoredToken(generation, payload)


def encode(record: StoredToken) -> str:
    """Return the record as ASCII text, whatever its payload holds."""
    return json.dumps(to_plain(record))


def decode(text: str | bytes) -> StoredToken:
    """Return the record that `encode` was given. Raises `ValueError` for anything else."""
    return from_plain(parse(text))


def parse(text: str | bytes) -> object:
    """Return what the JSON `text` says. Raises `ValueError` for all that is not JSON, showing nothing of it."""
    try:
        return cast("object", json.loads(text))
    except (ValueError, RecursionError):  # the decoder's own error carries the whole document
        pass
    raise ValueError("not JSON")


@contextmanager
def extra(name: str) -> Generator[None, None, None]:
    """Import inside. Raises `ConfigurationError` with the line to type when a library is not installed."""
    try:
        yield
    except ImportError as exc:
        missing = exc.name or "a library"
        raise ConfigurationError(f"{missing} is not installed: pip install 'nexudus-async[{name}]'") from exc


async def finish(work: Coroutine[Any, Any, T], *, grace: float | None = None) -> T:
    """Run `work` as a task of its own and return its result; when cancelled, raise that only once the task has ended.

    Otherwise a cancelled caller would leave a thread, or a request already sent, that takes a lock nobody knows of.
    grace: seconds that the task has left when the caller is cancelled; then it is cancelled, too. None: all it wants.
    The shield is against anyio's scopes, which cancel again at every await and would keep the loop spinning.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError as exc:
                if cancelled is None and grace is not None:
                    loop.call_later(grace, task.cancel)  # nothing happens if it has ended by then
                cancelled = cancelled or exc
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # marks it as seen: the cancellation is the news
        raise cancelled
    return task.result()


async def poll(attempt: Callable[[], Awaitable[bool]]) -> None:
    """Await `attempt` until it returns True, with growing, jittered pauses: no lock tells when it is free again."""
    pause = FIRST_PAUSE
    while not await attempt():
        await anyio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - spreads the waiters, hides nothing
        pause = min(2 * pause, LONGEST_PAUSE)
