"""What a record says, read anew; and what becomes of one that somebody has edited."""

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

from nexudus_async.stores import StoredToken

__all__ = ["EDITS", "LATER", "Content", "content_of", "edited"]

LATER = "later release"
EDITS = ("cut off", "not JSON", "too deep", "not a record", "another account", LATER)
"""What has been done to a record by somebody who is not one of ours."""
FORMAT = 1
ANOTHER = "another account's"


@dataclass(frozen=True, slots=True)
class Content:
    """What a record says.

    held_off_until: by the wall clock of whoever wrote it; served: whether that ends with the token.
    latched_until, latched_since: likewise, of credentials that were refused; probed: whether one has tried since.
    is_later: whether a later release has written it, so that the rest is not to be read. is_none: whether it is none.
    """

    generation: int
    access: str = field(repr=False, default="")
    refresh: str = field(repr=False, default="")
    client_id: str = ""
    in_doubt: bool = False
    is_tombstone: bool = False
    held_off_until: float = 0.0
    served: bool = False
    latched_until: float = 0.0
    latched_since: float = 0.0
    probed: bool = False
    is_later: bool = False
    is_none: bool = False


def content_of(record: StoredToken | None) -> Content | None:
    """Return what a record says: of one that is none, the generation."""
    if record is None:
        return None
    try:
        document: Any = json.loads(record.payload)
        if document["version"] > FORMAT:
            return Content(record.generation, is_later=True)
        if document["key"] == ANOTHER:
            return Content(record.generation, is_none=True)
        return _content_of(record.generation, document)
    except (ValueError, KeyError, TypeError, RecursionError):
        return Content(record.generation, is_none=True)


def _content_of(generation: int, document: dict[str, Any]) -> Content:
    token: dict[str, Any] = document["token"] or {}
    pause: dict[str, Any] = document.get("pause") or {}
    latch: dict[str, Any] = document.get("latch") or {}
    return Content(
        generation,
        access=token.get("access_token", ""),
        refresh=token.get("refresh_token") or "",
        client_id=document["client_id"] or token.get("client_id") or "",
        in_doubt=document["in_doubt"],
        is_tombstone=not token and document["logged_out_until"] > 0,
        held_off_until=pause.get("until", 0.0),
        served=pause.get("served", False),
        latched_until=latch.get("until", 0.0),
        latched_since=latch.get("since", 0.0),
        probed=latch.get("probed", False),
    )


def edited(record: StoredToken, what: str, chance: Random, token: dict[str, object] | None = None) -> StoredToken:
    """Return a record that is none any more. token: what a later release has got in place of the one in the record."""
    payload, generation = record.payload, record.generation + chance.choice((0, 1))
    match what:
        case "cut off":
            payload = payload[: chance.randrange(len(payload))]
        case "not JSON":
            payload = chance.choice(("", "\0", "}{"))
        case "too deep":
            payload = chance.choice("[{") * 100_000
        case "not a record":
            payload = chance.choice(("null", "[]", "{}", '{"version": "1"}', payload.replace("version", "edition")))
        case "another account":
            payload = json.dumps(json.loads(payload) | {"key": ANOTHER})
        case _:
            document: Any = json.loads(payload)
            document["token"] = document["token"] and document["token"] | (token or {})
            payload, generation = json.dumps(document | {"version": FORMAT + 1}), record.generation + 1
    return StoredToken(generation, payload)
