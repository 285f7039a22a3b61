"""What is in a file store's file: its records, and how they are read and written. Blocking: for worker threads.

One JSON object: "records" by key, each with its generation, its payload and "saved_at" (seconds since 1970), between an
"id" and an "end" that are the same random word, another one each time. A file of the release before has the records
only, without "saved_at"; it is read, and that release reads this one.
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import cast

from nexudus_async._events import logger

from ._private_file import opened, pending_path, read, replace
from ._protocol import StoredToken
from ._support import RECORD_TTL, from_plain, parse, to_plain

HEAD = 64
"""Bytes at the beginning of the file that hold its id, and so tell whether it is the one that is known."""
TRIES = 3
"""How often a file is read that is being written over in place, before it counts as spoilt."""

Records = dict[str, object]
Mark = tuple[int, int, int, bytes]
"""Inode, size, time and first bytes of a file."""
Edit = Callable[[Records], bool]
"""Changes the records, and tells whether it did."""


class Content:
    """The records of a file, not to be changed, and what it looked like, None when that says too little."""

    __slots__ = ("mark", "records")

    def __init__(self, records: Records, mark: Mark | None = None) -> None:
        self.records, self.mark = records, mark


def load(path: Path, known: Content | None) -> Content | None:
    """Return what is in the file: no records when there is none, None for content that is not a store's.

    known: what it was, which is returned if it still is that, without reading the rest of it.
    """
    for _ in range(TRIES):
        # This one first: when it is gone, what it held is in the file. The other way round, an older record could be
        # read after a newer one, by who reads the file just before it is written and looks for this just after.
        pending = read(pending_path(path))
        newer = None if pending is None else _parse(pending)
        content = _load(path, known)
        if newer is not None:
            return Content(newer if content is None else _newest(content.records, newer))
        if content is not None:
            return content
        # Spoilt; or it was being written over in place.
    return None


def _load(path: Path, known: Content | None) -> Content | None:
    with opened(path) as file:
        if file is None:
            return Content({})
        status = os.fstat(file.fileno())
        head = file.read(HEAD)
        mark = _mark(status, head)
        if known is not None and mark is not None and known.mark == mark:
            return known
        records = _parse(head + file.read())
        return None if records is None else Content(records, mark)


def _parse(content: bytes) -> Records | None:
    try:
        document = parse(content)
    except ValueError:
        return None
    fields = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    records = fields.get("records")
    whole = fields.get("id") == fields.get("end")  # both are missing in a file of the release before
    return cast("Records", records) if whole and isinstance(records, dict) else None


def _newest(records: Records, others: Records) -> Records:
    """Return the records of both, of each key the one that was saved later."""
    merged = dict(records)
    for key, other in others.items():
        if key not in merged or _age(other) >= _age(merged[key]):
            merged[key] = other
    return merged


def _age(data: object) -> tuple[int, float]:
    """Return what is greater for the newer of two records of a key."""
    try:
        return from_plain(data).generation, _saved_at(data)
    except ValueError:
        return -1, 0.0


def _saved_at(data: object) -> float:
    saved_at = cast("dict[str, object]", data).get("saved_at") if isinstance(data, dict) else None
    return saved_at if isinstance(saved_at, int | float) else 0.0


def change(path: Path, edits: Iterable[Edit], known: Content | None) -> Content:
    """Apply `edits` to the records and, when one of them changes anything, write them; return what is there then.

    Call it under the lock to write under.
    """
    before = load(path, known)
    if before is None:
        _keep_aside(path)
    records = {} if before is None else dict(before.records)
    changes = [edit(records) for edit in edits]
    if before is not None and not any(changes):
        return before
    _prune(records, time.time())
    text = _as_text(records)
    status = replace(path, text)
    if status is None:
        _warn_of_mount(path)
        return Content(records)
    return Content(records, _mark(status, text))


def _keep_aside(path: Path) -> None:
    """Keep a copy of content that is not a store's: a path mistyped must not cost its owner the file."""
    content = read(path)
    if content is not None:
        replace(path.with_name(f"{path.name}.unreadable"), content)


@lru_cache(maxsize=100)  # once for each
def _warn_of_mount(path: Path) -> None:
    logger.warning(
        "%s is a mount point and cannot be replaced: it is written over in place, under locks that nobody sees who "
        "mounts it elsewhere. Mount the folder it is in, not the file",
        path,
    )


def _mark(status: os.stat_result, content: bytes) -> Mark | None:
    """Return what tells this content from any other, or None when a file of its form does not say."""
    head = content[:HEAD]
    return (status.st_ino, status.st_size, status.st_mtime_ns, head) if head.startswith(b'{"id": "') else None


def _as_text(records: Records) -> bytes:
    word = secrets.token_hex(8)
    return f'{{"id": "{word}", "records": {json.dumps(records)}, "end": "{word}"}}'.encode()


def _prune(records: Records, now: float) -> None:
    """Drop what was last saved too long ago. A record of the release before is as one that is saved now."""
    for key, data in list(records.items()):
        if isinstance(data, dict):
            saved_at = _saved_at(cast("object", data))
            if not 0 < saved_at <= now:
                records[key] = {**cast("dict[str, object]", data), "saved_at": now}
            elif now - saved_at > RECORD_TTL:
                del records[key]


def put(key: str, record: StoredToken) -> Edit:
    """Return the edit that keeps `record`, unless the one that is there is newer."""

    def edit(records: Records) -> bool:
        try:
            if from_plain(records.get(key)).generation > record.generation:
                return False
        except ValueError:
            pass  # there is none, or one that cannot be read
        records[key] = {**to_plain(record), "saved_at": time.time()}
        return True

    return edit


def drop(key: str) -> Edit:
    """Return the edit that forgets a record."""

    def edit(records: Records) -> bool:
        present = key in records
        records.pop(key, None)
        return present

    return edit
