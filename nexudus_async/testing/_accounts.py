"""Users and their tokens: who may sign in, which tokens live, and what a sign-in or a refresh kills. No I/O.

A refresh token lives until it is used, until its `client_id` gets another one, until it is revoked, or 15 days.
An access token lives until it expires or is revoked; a sign-in or a refresh leaves it alone.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from nexudus_async._clock import Clock

from ._one_time import OneTimeTokens
from ._totp import STEP, code_for_step

REFRESH_TOKEN_LIFETIME = 15 * 86_400.0  # seconds, as documented
FIRST_COWORKER_ID = 1_001


@dataclass(eq=False, slots=True)
class User:
    """One account. Every attribute but its name may be changed while the emulator runs, and counts from then on.

    username: the e-mail, compared without regard to case.
    password: setting it ends no session; `NexudusEmulator.change_password` does.
    totp_secret: base32; None turns two-factor off. last_totp_step: of the code that was used last, none goes twice.
    suspended, must_reset: sign-ins and refreshes are refused as Nexudus refuses such accounts.
    api_access_token: a secret that the customer's profile carries; it has nothing to do with the tokens here.
    sso_only: the password grant is refused as `invalid_grant`, whatever the password.
    admin: may impersonate others.
    invalid_login_attempts: failed sign-ins, wrong passwords and wrong codes, since the last one that was granted.
    coworker_id: the customer's number, for impersonation. 0: the emulator gives one when the user is added.
    """

    username: str
    password: str = field(repr=False)
    totp_secret: str | None = field(default=None, repr=False)
    suspended: bool = False
    must_reset: bool = False
    api_access_token: str = field(default_factory=lambda: secrets.token_hex(24), repr=False)
    last_totp_step: int = field(default=-1, repr=False)
    sso_only: bool = False
    admin: bool = False
    invalid_login_attempts: int = 0
    coworker_id: int = 0

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

    def is_named(self, username: str) -> bool:
        """Tell whether it goes by this e-mail, without regard to case."""
        return self.username.lower() == username.lower()


class RefreshTokenState(Enum):
    """What a refresh token is worth, and why."""

    LIVE = "live"
    USED = "used in a refresh"
    SUPERSEDED = "replaced by a later token of the same client_id"
    REVOKED = "revoked"
    EXPIRED = "expired"
    UNKNOWN = "never issued"


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a grant brings.

    access_token, refresh_token: secret; `repr` shows neither. client_id: the header that the refresh must repeat.
    expires_in: seconds that the access token lives.
    """

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    client_id: str = ""
    expires_in: float = 0.0


@dataclass(slots=True)
class _AccessToken:
    user: User
    expires_at: float
    lifetime: float


@dataclass(slots=True)
class RefreshToken:
    """One issued refresh token; a dead one is kept, so that its reuse is recognised."""

    user: User
    client_id: str
    expires_at: float
    state: RefreshTokenState = RefreshTokenState.LIVE


@dataclass(frozen=True, slots=True)
class Living:
    """A token that lives: `expires_in` of the `lifetime` that it was issued for, in seconds."""

    token: str = field(repr=False)
    expires_in: float
    lifetime: float


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What one `client_id` holds: its newest access token, how many older ones live, its refresh token."""

    username: str
    client_id: str
    access: Living | None
    older: int
    refresh: Living | None


class Accounts:
    """All users and tokens. Expiry goes by `clock.monotonic()`, one-time codes by `clock.wall()`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._users: dict[str, User] = {}
        self._access: dict[str, _AccessToken] = {}
        self._refresh: dict[str, RefreshToken] = {}
        self._live: dict[str, str] = {}  # client_id → its one live refresh token
        self._held: dict[tuple[User, str], list[str]] = {}  # user and client_id → access tokens, the newest last
        self._link_tokens: set[str] = set()
        self.one_time: OneTimeTokens[User] = OneTimeTokens(clock)

    # -- users ---------------------------------------------------------------------------------------------------

    def add(self, user: User) -> User:
        """Add a user, or replace the one of that name, whose number it takes over unless it has one.

        Raises `ValueError` for the number of another user.
        """
        replaced, other = self.find(user.username), self.find_coworker(user.coworker_id)
        if other is not None and other is not replaced:
            raise ValueError(f"the coworker_id {user.coworker_id} is taken by {other.username}")
        if not user.coworker_id:
            user.coworker_id = replaced.coworker_id if replaced is not None else self._next_coworker_id()
        self._users[user.username.lower()] = user
        return user

    def remove(self, user: User) -> None:
        """End the user's sessions, and forget it."""
        self.revoke_access_tokens(user.username)
        self.revoke_refresh_tokens(user.username)
        self._users.pop(user.username.lower(), None)

    def find(self, username: str) -> User | None:
        return self._users.get(username.lower())

    def find_coworker(self, coworker_id: int) -> User | None:
        return next((user for user in self._users.values() if user.coworker_id == coworker_id), None)

    def users(self) -> list[User]:
        return list(self._users.values())

    def _next_coworker_id(self) -> int:
        return 1 + max((user.coworker_id for user in self._users.values()), default=FIRST_COWORKER_ID - 1)

    # -- tokens --------------------------------------------------------------------------------------------------

    def issue(self, user: User, client_id: str, lifetime: float) -> TokenPair:
        """Make a pair, and kill the refresh token that `client_id` had."""
        now = self._clock.monotonic()
        pair = TokenPair(secrets.token_urlsafe(192), secrets.token_hex(16), client_id, lifetime)
        self._access[pair.access_token] = _AccessToken(user, now + lifetime, lifetime)
        self._held.setdefault((user, client_id), []).append(pair.access_token)
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

    def signed_in(self) -> Iterator[SignedIn]:
        """Yield what each `client_id` of each user holds, those that hold nothing any more left out."""
        now = self._clock.monotonic()
        for user, client_id in list(self._held):
            access = self._held[user, client_id] = self._living_access(user, client_id)
            token = self._live.get(client_id, "")
            known = self.look_up(token)
            live = known is not None and known.state is RefreshTokenState.LIVE and known.user is user
            refresh = Living(token, known.expires_at - now, REFRESH_TOKEN_LIFETIME) if known and live else None
            if access:
                newest = self._access[access[-1]]
                living = Living(access[-1], newest.expires_at - now, newest.lifetime)
                yield SignedIn(user.username, client_id, living, len(access) - 1, refresh)
            elif refresh is not None:
                yield SignedIn(user.username, client_id, None, 0, refresh)
            else:
                del self._held[user, client_id]

    def make_link_token(self) -> str:
        """Return a secret for a link to a page, such as that of a password reset; it opens nothing here."""
        token = secrets.token_hex(20)
        self._link_tokens.add(token)
        return token

    def accepts_code(self, user: User, code: str) -> bool:
        return user.accepts_code(code, self._clock.wall())

    def revoke_access_tokens(self, username: str | None) -> None:
        for known in self._access.values():
            if username is None or known.user.is_named(username):
                known.expires_at = float("-inf")

    def revoke_refresh_tokens(self, username: str | None) -> None:
        for token, known in self._refresh.items():
            if username is None or known.user.is_named(username):
                self._kill(token, RefreshTokenState.REVOKED)

    # -- secrets -------------------------------------------------------------------------------------------------

    def secrets(self) -> frozenset[str]:
        """Return every token ever issued, and the users' passwords and keys as they are now."""
        found: set[str | None] = {*self._access, *self._refresh, *self._link_tokens, *self.one_time.all()}
        for user in self._users.values():
            found |= {user.password, user.totp_secret, user.api_access_token}
        return frozenset(secret for secret in found if secret)

    def is_secret(self, text: str) -> bool:
        """Return whether `text` is one of `secrets()`, without making that set."""
        issued = (self._access, self._refresh, self._link_tokens, self.one_time)
        return any(text in kept for kept in issued) or any(
            text in (user.password, user.totp_secret, user.api_access_token) for user in self._users.values()
        )

    def _living_access(self, user: User, client_id: str) -> list[str]:
        now = self._clock.monotonic()
        return [token for token in self._held[user, client_id] if self._access[token].expires_at > now]

    def _kill(self, refresh_token: str | None, state: RefreshTokenState) -> None:
        known = self._refresh.get(refresh_token or "")
        if known is not None and known.state is RefreshTokenState.LIVE:
            known.state = state
            self._live.pop(known.client_id, None)
