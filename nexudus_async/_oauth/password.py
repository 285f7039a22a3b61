"""The password grant of one account: where its password and its one-time codes come from, and what is known of them.

A password is fetched once for a sign-in, however often that is tried: a callable may be good for one call only. A code
is sent again while it is good and nobody can have looked at it; one that was typed by a person is good for one sign-in.
"""

from typing import Final, NamedTuple

from nexudus_async._clock import Clock
from nexudus_async._credentials import PasswordCredentials
from nexudus_async._token import Secret, Token
from nexudus_async.errors import TotpRequiredError, is_refusal

from . import messages
from .failures import FINAL, NOT_USED
from .rejected_password import RejectedPassword
from .sign_in import HOLD, Attempt, SignIn
from .transport import AttemptFailed, Transport

TOTP_STEP: Final = 30.0
"""Seconds for which a one-time code is good (RFC 6238, section 4.1)."""


class _Held(NamedTuple):
    """A secret, until when (monotonic or wall-clock seconds)."""

    value: Secret
    until: float


class PasswordSignIn(SignIn):
    """Signs in with user name and password, one try at a time. key: what a store files the account under."""

    grant = "password"

    def __init__(self, transport: Transport, credentials: PasswordCredentials, clock: Clock, key: str) -> None:
        self._transport, self._credentials, self._clock = transport, credentials, clock
        self.attended = isinstance(credentials.totp, str)  # a person has typed it
        self._rejected = RejectedPassword(key)
        self._typed_code_used = False
        self._password: _Held | None = None
        """A password that was fetched, and not sent since."""
        self._code: _Held | None = None
        """A code that was fetched, and that nobody can have looked at."""

    async def begin(self, client_id: str, *, apart: bool) -> Attempt:  # noqa: ARG002 - the `client_id` says all
        """Return one try, for all tries of one sign-in: with the password as it is now."""
        self._check_typed_code()
        held, self._password = self._password, None
        if held is not None and self._clock.monotonic() < held.until:
            password = held.value
        else:
            password = await self._credentials.fetch_password()

        async def attempt() -> Token:
            return await self._attempt(password, client_id)

        return attempt

    async def _attempt(self, password: Secret, client_id: str) -> Token:
        """Try once. Raises `AttemptFailed`, and `TotpRequiredError` for a typed code that was used already."""
        credentials = self._credentials
        self._check_typed_code()  # again: another sign-in may have used it meanwhile
        code = await self._fetch_code(credentials)
        self._code = None
        self._typed_code_used = self.attended  # before: whoever cancels cannot tell if it arrived
        self._rejected.drop()
        totp = code.value if code is not None else None
        try:
            return await self._transport.post(messages.sign_in(credentials.username, password, totp, client_id))
        except AttemptFailed as failed:
            if failed.fate in NOT_USED:
                self._typed_code_used, self._code = False, code
            if is_refusal(failed.error):
                self._rejected.remember(password)
            if isinstance(failed.error, TotpRequiredError) and callable(credentials.totp):
                failed.error.retry_after = TOTP_STEP - self._clock.wall() % TOTP_STEP
                self._hold(password, failed.error.retry_after + HOLD)
            raise

    def may_retry(self, failed: AttemptFailed) -> bool:
        """Tell whether a further try is safe, and may help."""
        return failed.fate not in FINAL and not self._typed_code_used

    async def credentials_changed(self) -> bool:
        """Tell whether a callable password now returns another value than the one that was refused."""
        if isinstance(self._credentials.password, str):
            return False
        password = await self._credentials.fetch_password()
        changed = self._rejected.is_another(password)
        if changed:
            self._hold(password, HOLD)
        return changed

    async def fingerprint(self, like: str | None = None) -> str | None:
        """Return a slow hash of the password refused last, or, to compare it with `like`, of today's."""
        if like is None:
            return await self._rejected.fingerprint()
        password = await self._credentials.fetch_password()
        fingerprint = await self._rejected.fingerprint_of(password)
        if fingerprint != like:
            self._hold(password, HOLD)
        return fingerprint

    def _check_typed_code(self) -> None:
        if self._typed_code_used:
            raise TotpRequiredError(
                "the one-time code given as text was used already: pass a new one, or a callable such as "
                "totp_from_secret(...)",
                error="two_factor_auth_check",
            )

    async def _fetch_code(self, credentials: PasswordCredentials) -> _Held | None:
        """Return the code to send: the one at hand while its time step lasts, else a new one."""
        if self._code is not None and self._clock.wall() < self._code.until:
            return self._code
        code, wall = await credentials.fetch_totp(), self._clock.wall()
        return None if code is None else _Held(code, wall - wall % TOTP_STEP + TOTP_STEP)

    def _hold(self, password: Secret, seconds: float) -> None:
        """Keep a password for the sign-in that is about to follow: its callable may be good for one call."""
        self._password = _Held(password, self._clock.monotonic() + seconds)
