"""What a fleet knows of its chain of tokens, and the text that a store keeps of it.

Releases run side by side, so the format keeps these rules:

- what is added is optional, and what is not known is passed over: then the version stays;
- any other change is a new version, and the version before is still read: a test keeps a record of each;
- a record of a version above ours is not understood. Its generation alone counts, it is never replaced, and the process
  goes on as if the store were down (`NewerRecordError`).
"""

import dataclasses
import json
import math
from typing import Any, NamedTuple

from nexudus_async._token import Token, can_be_sent
from nexudus_async.errors import StoreError

from ._protocol import StoredToken

VERSION = 1
MAX_TEXT = 300
"""Characters of an error's text that are told to other processes."""


class NewerRecordError(StoreError):
    """Raised for a record that a later release of this package has written. generation: its own."""

    def __init__(self, generation: int) -> None:
        super().__init__(
            "the record was written by a later release of this package, and is left alone: update this one"
        )
        self.generation = generation


class Latch(NamedTuple):
    """Refused credentials, for the whole fleet: how often, until when (wall clock), and which, as a salted hash.

    since: when they were refused. probed: whether a process that was started since has tried them.
    """

    rejections: int
    until: float
    error: str
    fingerprint: str | None = None
    since: float = 0.0
    probed: bool = False


class Pause(NamedTuple):
    """A failure that holds off the whole fleet: how often in a row, and until when (wall clock).

    kind, error: what it was, by class and text.
    served: whether the token was still good then; such a pause ends with it.
    """

    failures: int
    until: float
    served: bool
    kind: str
    error: str


class Record(NamedTuple):
    """What the fleet knows of the chain.

    generation: of the token, or of the logout that ended it.
    token: the newest token, None after a logout or while there was none.
    in_doubt: a refresh of the token was begun. Whoever finds that under the lock knows that the one who wrote it has
        died, or does not know either what came of it.
    client_id: the chain's own, kept when the tokens end.
    logged_out_until: when a logout may be forgotten (wall clock), 0 for none.
    server: which server of the store was told of the token; None where the store does not tell.
    tried: marks of what was handed over for one use, and used: see `_refresh/tried.py`.
    """

    generation: int
    token: Token | None = None
    in_doubt: bool = False
    client_id: str | None = None
    latch: Latch | None = None
    logged_out_until: float = 0.0
    pause: Pause | None = None
    server: str | None = None
    tried: tuple[str, ...] = ()

    def life_left(self, wall: float) -> float:
        """Return the seconds that the token still lives, by this host's clock.

        Hosts' clocks differ: it is never less than nothing, nor more than its lifetime.
        """
        token = self.token
        return 0.0 if token is None else min(max(token.expires_at.timestamp() - wall, 0.0), token.lifetime)


def is_tombstone(record: Record) -> bool:
    """Tell whether a record is that of a logout."""
    return record.token is None and record.logged_out_until > 0


def outranks(record: Record, unsaved: Record) -> bool:
    """Tell whether a record makes an unsaved one pointless: as new, and not just a note of refused credentials."""
    if record.generation == unsaved.generation:
        return record.token is not None or is_tombstone(record)
    return record.generation > unsaved.generation


def above(unsaved: Record, newest: Record | None) -> Record:
    """Return what is unsaved, above the newest record, and above the save of another process that may yet arrive.

    Whoever could not confirm a save has given its token the next generation, or, where the record was in doubt, the one
    after that; and a store may carry it out late.

    A tombstone keeps the `client_id` of the chain, and what holds the fleet off: a logout mends no service, and makes
    no password right.
    """
    if newest is None:
        return unsaved
    generation = max(unsaved.generation, newest.generation + 2 + newest.in_doubt)
    raised = unsaved._replace(generation=generation, client_id=unsaved.client_id or newest.client_id)
    if unsaved.token is None:
        return raised._replace(latch=unsaved.latch or newest.latch, pause=unsaved.pause or newest.pause)
    return raised._replace(token=dataclasses.replace(unsaved.token, generation=generation))


def encode(record: Record, key: str) -> StoredToken:
    """Return the record as a store keeps it under `key`."""
    document: dict[str, Any] = {
        "version": VERSION,
        "key": key,
        "token": None if record.token is None else record.token.to_dict(),
        "in_doubt": record.in_doubt,
        "client_id": record.client_id,
        "latch": None if record.latch is None else record.latch._asdict(),
        "logged_out_until": record.logged_out_until,
        "pause": None if record.pause is None else record.pause._asdict(),
        "server": record.server,
    }
    if record.tried:
        document["tried"] = list(record.tried)
    return StoredToken(record.generation, json.dumps(document))


def decode(stored: StoredToken, key: str) -> Record:
    """Return the record that `encode` was given.

    Raises `NewerRecordError`, and `ValueError` for anything else that is none, showing nothing of it.
    """
    try:
        return _decoded(stored, key)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        pass
    raise ValueError("the record is not one of this package's, or another account's")


def _decoded(stored: StoredToken, key: str) -> Record:
    document: Any = json.loads(stored.payload)
    version = document["version"]
    if isinstance(version, int) and version > VERSION:
        raise NewerRecordError(stored.generation)
    if version != VERSION or document["key"] != key:
        raise ValueError("another version, or another account's")
    client_id, server = document["client_id"], document.get("server")
    token = None if document["token"] is None else Token.from_dict(document["token"])
    if token is not None and not (can_be_sent(token) and 0 < token.lifetime < math.inf):
        raise ValueError("not a token that the service has given")
    return Record(
        generation=stored.generation,
        token=None if token is None else dataclasses.replace(token, generation=stored.generation),
        in_doubt=bool(document["in_doubt"]),
        client_id=None if client_id is None else str(client_id),
        latch=_latch(document["latch"]),
        logged_out_until=float(document["logged_out_until"]),
        pause=_pause(document.get("pause")),
        server=None if server is None else str(server),
        tried=tuple(map(str, document.get("tried", ()))),
    )


def _latch(data: Any) -> Latch | None:
    if data is None:
        return None
    fingerprint = data["fingerprint"]
    return Latch(
        rejections=int(data["rejections"]),
        until=float(data["until"]),
        error=str(data["error"]),
        fingerprint=None if fingerprint is None else str(fingerprint),
        since=float(data.get("since", 0.0)),
        probed=bool(data.get("probed", False)),
    )


def _pause(data: Any) -> Pause | None:
    if data is None:
        return None
    return Pause(
        failures=int(data["failures"]),
        until=float(data["until"]),
        served=bool(data["served"]),
        kind=str(data["kind"]),
        error=str(data["error"])[:MAX_TEXT],
    )
