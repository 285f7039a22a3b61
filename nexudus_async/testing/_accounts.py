"""Users and their tokens: who may sign in, which tokens live, and what a sign-in or a renewal kills. No I/O.

A refresh token lives until it is used, until its `client_id` gets another one, until it is revoked, or 15 days.
An access token lives until it expires or is revoked; a sign-in or a renewal leaves it alone.
"""

import secrets
from dataclasses import dataclass, field
from enum import Enum

from nexudus_async._clock import Clock

from ._totp import STEP, code_for_step

__all__ = ["REFRESH_TOKEN_LIFETIME", "Accounts", "RefreshTokenState", "TokenPair", "User"]

REFRESH_TOKEN_LIFETIME = 15 * 86_400.0  # seconds, as documented


@dataclass(eq=False, slots=True)
class User:
    """One account. Every attribute may be changed while the emulator runs, and counts from then on.

    username: the e-mail, compared without regard to case.
    totp_secret: base32; None turns two-factor off.
    api_access_token: a secret that the customer's profile carries; it has nothing to do with the tokens here.
    """

    username: str
    password: str = field(repr=False)
    totp_secret: str | None = field(default=None, repr=False)
    suspended: bool = False
    must_reset: bool = False
    api_access_token: str = field(default_factory=lambda: secrets.token_hex(24), repr=False)
    last_totp_step: int = field(default=-1, repr=False)

    def accepts_code(self, code: str, now: float) -> bool:
        """Check a TOTP code and use it up: it, and those before it, are refused from then on (RFC 6238, 5.2).

        The code of the step before is accepted too, for answers under way when the step changed.
        """
        assert self.totp_secret is not None
        current = int(now // STEP)
        for step in (current, current - 1):
            if step > self.last_totp_step and secrets.compare_digest(
                code.encode(), code_for_step(self.totp_secret, step).encode()
            ):
                self.last_totp_step = step
                return True
        return False


class RefreshTokenState(Enum):
    """What a refresh token is worth, and why."""

    LIVE = "live"
    USED = "used in a renewal"
    SUPERSEDED = "replaced by a later token of the same client_id"
    REVOKED = "revoked"
    EXPIRED = "expired"
    UNKNOWN = "never issued"


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a grant brings."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)


@dataclass(slots=True)
class _AccessToken:
    user: User
    expires_at: float


@dataclass(slots=True)
class RefreshToken:
    """One issued refresh token; a dead one is kept, so that its reuse is recognised."""

    user: User
    client_id: str
    expires_at: float
    state: RefreshTokenState = RefreshTokenState.LIVE


class Accounts:
    """All users and tokens. Expiry goes by `clock.monotonic()`, one-time codes by `clock.wall()`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._users: dict[str, User] = {}
        self._access: dict[str, _AccessToken] = {}
        self._refresh: dict[str, RefreshToken] = {}
        self._live: dict[str, str] = {}  # client_id → its one live refresh token
        self._reset_tokens: set[str] = set()

    def add(self, user: User) -> User:
        self._users[user.username.lower()] = user
        return user

    def find(self, username: str) -> User | None:
        return self._users.get(username.lower())

    def issue(self, user: User, client_id: str, lifetime: float) -> TokenPair:
        """Make a pair, and kill the refresh token that `client_id` had."""
        now = self._clock.monotonic()
        pair = TokenPair(secrets.token_urlsafe(192), secrets.token_hex(16))
        self._access[pair.access_token] = _AccessToken(user, now + lifetime)
        self._kill(self._live.get(client_id), RefreshTokenState.SUPERSEDED)
        self._refresh[pair.refresh_token] = RefreshToken(user, client_id, now + REFRESH_TOKEN_LIFETIME)
        self._live[client_id] = pair.refresh_token
        return pair

    def use_up(self, refresh_token: str) -> None:
        self._kill(refresh_token, RefreshTokenState.USED)

    def look_up(self, refresh_token: str) -> RefreshToken | None:
        """Return what is known of a refresh token, its expiry taken into account."""
        known = self._refresh.get(refresh_token)
        if known is not None and self._clock.monotonic() >= known.expires_at:
            self._kill(refresh_token, RefreshTokenState.EXPIRED)
        return known

    def bearer(self, access_token: str) -> User | None:
        """Return whose living access token this is."""
        known = self._access.get(access_token)
        if known is None or known.user.suspended or self._clock.monotonic() >= known.expires_at:
            return None
        return known.user

    def make_reset_token(self) -> str:
        token = secrets.token_hex(20)
        self._reset_tokens.add(token)
        return token

    def accepts_code(self, user: User, code: str) -> bool:
        return user.accepts_code(code, self._clock.wall())

    def revoke_access_tokens(self, username: str | None) -> None:
        for token, known in list(self._access.items()):
            if _belongs(known.user, username):
                self._access[token].expires_at = float("-inf")

    def revoke_refresh_tokens(self, username: str | None) -> None:
        for token, known in self._refresh.items():
            if _belongs(known.user, username):
                self._kill(token, RefreshTokenState.REVOKED)

    def secrets(self) -> frozenset[str]:
        """Return every token ever issued, and the users' passwords and keys as they are now."""
        found: set[str | None] = {*self._access, *self._refresh, *self._reset_tokens}
        for user in self._users.values():
            found |= {user.password, user.totp_secret, user.api_access_token}
        return frozenset(secret for secret in found if secret)

    def _kill(self, refresh_token: str | None, state: RefreshTokenState) -> None:
        known = self._refresh.get(refresh_token or "")
        if known is not None and known.state is RefreshTokenState.LIVE:
            known.state = state
            self._live.pop(known.client_id, None)


def _belongs(user: User, username: str | None) -> bool:
    return username is None or user.username.lower() == username.lower()
