"""One-time JWTs: what a sign-up, a password reset, a magic link or an impersonation puts into somebody's hands.

Each signs its user in once, by the exchange. No I/O.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from nexudus_async._clock import Clock

JWT_LIFETIME = 900.0  # seconds; "short-lived" is all that is documented

Owner = TypeVar("Owner")


class JwtRefusal(Enum):
    """Why a JWT signs nobody in."""

    UNKNOWN = "The token is not valid."
    USED = "The token has been used."
    EXPIRED = "The token has expired."


@dataclass(slots=True)
class _Minted(Generic[Owner]):
    owner: Owner
    expires_at: float
    used: bool = False


class OneTimeTokens(Generic[Owner]):
    """The JWTs that were minted, and what became of them. Expiry goes by `clock.monotonic()`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._minted: dict[str, _Minted[Owner]] = {}

    def mint(self, owner: Owner, subject: str, lifetime: float) -> str:
        """Return a JWT (RFC 7519, HS256) that names `subject` and lives `lifetime` seconds."""
        claims = {"sub": subject, "jti": secrets.token_hex(8), "exp": int(self._clock.wall() + lifetime)}
        signed = f"{_encoded({'alg': 'HS256', 'typ': 'JWT'})}.{_encoded(claims)}"
        signature = hmac.digest(self._key, signed.encode(), hashlib.sha256)
        jwt = f"{signed}.{_base64(signature)}"
        self._minted[jwt] = _Minted(owner, self._clock.monotonic() + lifetime)
        return jwt

    def redeem(self, jwt: str) -> Owner | JwtRefusal:
        """Return whom a JWT signs in, and use it up."""
        known = self._minted.get(jwt)
        if known is None:
            return JwtRefusal.UNKNOWN
        if known.used:
            return JwtRefusal.USED
        if self._clock.monotonic() >= known.expires_at:
            return JwtRefusal.EXPIRED
        known.used = True
        return known.owner

    def end_all(self) -> None:
        """Let none of those minted so far sign anybody in."""
        for known in self._minted.values():
            known.used = True

    def all(self) -> frozenset[str]:
        """Return every JWT ever minted."""
        return frozenset(self._minted)

    def __contains__(self, jwt: str) -> bool:
        return jwt in self._minted


def _encoded(value: Mapping[str, object]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
