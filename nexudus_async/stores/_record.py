"""A record as JSON: one form for every store that writes text."""

import json
from typing import cast

from ._protocol import StoredToken

__all__ = ["decode", "encode", "from_plain", "parse", "to_plain"]


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
