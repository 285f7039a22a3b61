"""What a fleet knows of its chain of tokens, and the text that a store keeps of it.

The format has a version. Whoever changes it keeps reading the version before: releases run side by side, and a fleet
is not stopped for an update.
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from nexudus_async._token import Token, can_be_sent

from ._protocol import StoredToken

VERSION = 1


@dataclass(frozen=True, slots=True)
class Latch:
    """Refused credentials, for the whole fleet: how often, until when (wall clock), and which, as a salted hash."""

    rejections: int
    until: float
    error: str
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What the fleet knows of the chain.

    generation: of the token, or of the logout that ended it.
    token: the newest token, None after a logout or while there was none.
    in_doubt: a refresh of the token was begun. Whoever finds that under the lock knows that the one who wrote it has
        died, or does not know either what came of it.
    client_id: the chain's own, kept when the tokens end.
    logged_out_until: when a logout may be forgotten (wall clock), 0 for none.
    """

    generation: int
    token: Token | None = None
    in_doubt: bool = False
    client_id: str | None = None
    latch: Latch | None = None
    logged_out_until: float = 0.0

    def life_left(self, wall: float) -> float:
        """Return the seconds that the token still lives, by this host's clock.

        Hosts' clocks differ: it is never less than nothing, nor more than its lifetime.
        """
        token = self.token
        return 0.0 if token is None else min(max(token.expires_at.timestamp() - wall, 0.0), token.lifetime)


def encode(record: Record, key: str) -> StoredToken:
    """Return the record as a store keeps it under `key`."""
    document: dict[str, Any] = {
        "version": VERSION,
        "key": key,
        "token": None if record.token is None else record.token.to_dict(),
        "in_doubt": record.in_doubt,
        "client_id": record.client_id,
        "latch": None if record.latch is None else dataclasses.asdict(record.latch),
        "logged_out_until": record.logged_out_until,
    }
    return StoredToken(record.generation, json.dumps(document))


def decode(stored: StoredToken, key: str) -> Record:
    """Return the record that `encode` was given. Raises `ValueError` for anything else, showing nothing of it."""
    try:
        return _decoded(stored, key)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        pass
    raise ValueError("the record is not one of this package's, or another account's")


def _decoded(stored: StoredToken, key: str) -> Record:
    document: Any = json.loads(stored.payload)
    if document["version"] != VERSION or document["key"] != key:
        raise ValueError("another version, or another account's")
    latch, client_id = document["latch"], document["client_id"]
    token = None if document["token"] is None else Token.from_dict(document["token"])
    if token is not None and not (can_be_sent(token) and 0 < token.lifetime < math.inf):
        raise ValueError("not a token that the service has given")
    return Record(
        generation=stored.generation,
        token=None if token is None else dataclasses.replace(token, generation=stored.generation),
        in_doubt=bool(document["in_doubt"]),
        client_id=None if client_id is None else str(client_id),
        latch=None if latch is None else _latch(latch),
        logged_out_until=float(document["logged_out_until"]),
    )


def _latch(data: Any) -> Latch:
    fingerprint = data["fingerprint"]
    return Latch(
        rejections=int(data["rejections"]),
        until=float(data["until"]),
        error=str(data["error"]),
        fingerprint=None if fingerprint is None else str(fingerprint),
    )
