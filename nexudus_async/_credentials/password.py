"""A user name, a password, and where a one-time code comes from."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn

from nexudus_async._clock import Clock, SystemClock
from nexudus_async._token import Secret
from nexudus_async._value import Value
from nexudus_async.errors import ConfigurationError

from .providers import Provider, fetch, hidden, kind_of_value, variable

_BASE32: Final = "[A-Z2-7]+"
_SEPARATORS: Final = "[\\s\u2010-\u2015\u2212\u200b-\u200d\u2060\ufeff-]"
"""What people and apps put into codes and keys: blanks, dashes, and what cannot be seen."""


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class PasswordCredentials(Value):
    """The credentials of one account (RFC 6749, section 4.3; https://developers.nexudus.com, "Authentication").

    username: the e-mail address the customer signs in with.
    password: the password, or a callable that returns it or an awaitable of it.
        It is sent as it is, blanks and newlines at its ends included.
    totp: the one-time code of an account with two-factor on, or a callable for it such as `totp_from_secret` gives.
        A code given as text is good for one sign-in. Blanks and dashes in it do not matter.

    Callables run on the event loop and must not block it; what they raise comes out as `ConfigurationError` with the
    cause attached, without the frames that may show a password. A callable password is asked once per sign-in,
    however often that is tried. Raises `ConfigurationError` for empty or wrongly typed values. Safe to share between
    sessions.
    """

    username: str
    password: str | Provider = field(repr=False)
    totp: str | Provider | None = field(default=None, repr=False)

    def __init__(self, username: str, password: str | Provider, totp: str | Provider | None = None) -> None:
        object.__setattr__(self, "username", username)  # first: repr needs it, in a report of the error below too
        problem = _problem(username, password, totp)
        if problem is not None:
            del password, totp  # tools that report errors show the local variables of this frame
            raise ConfigurationError(problem)
        object.__setattr__(self, "password", hidden(password))
        object.__setattr__(self, "totp", None if totp is None else hidden(totp))

    @classmethod
    def from_env(cls) -> "PasswordCredentials":
        """Return the credentials in NEXUDUS_USERNAME, NEXUDUS_PASSWORD and, with two-factor on, NEXUDUS_TOTP_SECRET.

        Raises `ConfigurationError` naming the variable that is missing.
        """
        secret = Secret(os.environ.get("NEXUDUS_TOTP_SECRET", ""))
        return cls(
            variable("NEXUDUS_USERNAME"),
            variable("NEXUDUS_PASSWORD"),
            totp_from_secret(secret) if secret else None,
        )

    async def fetch_password(self) -> Secret:
        """Return the password for one sign-in."""
        return await fetch("password", self.password)

    async def fetch_totp(self) -> Secret | None:
        """Return the one-time code for one sign-in, or None for an account without two-factor."""
        return None if self.totp is None else _cleaned(await fetch("totp", self.totp))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("credentials cannot be pickled; make them anew in the other process, for example from_env()")


def totp_from_secret(secret: str, *, clock: Clock | None = None) -> Callable[[], str]:
    """Return a callable that gives the current one-time code for `totp=` (RFC 6238; needs the extra `totp`).

    secret: the base32 key shown when two-factor was set up; spaces and case do not matter.
    Raises `ConfigurationError` for a key that is not base32, and when pyotp is not installed.
    """
    try:
        from pyotp.totp import TOTP  # noqa: PLC0415 - an extra: imported by those who use it
    except ImportError as exc:
        raise ConfigurationError("totp_from_secret needs pyotp: pip install 'nexudus-async[totp]'") from exc

    class Generator(TOTP):
        min_secret_length_bits = 0  # what a service gave its customers is not ours to refuse: 80 bits are common

    key = Secret(re.sub(_SEPARATORS, "", secret).replace("=", "").upper() if isinstance(secret, str) else "")
    del secret  # as in PasswordCredentials
    try:
        generator = Generator(key) if re.fullmatch(_BASE32, key) else None
        if generator is not None:
            generator.at(0)  # some releases look at the key only now
    except Exception:  # noqa: BLE001 - whatever the library raises would show the key
        generator = None
    if generator is None:
        raise ConfigurationError("the TOTP secret must be the base32 key shown when two-factor was set up")
    now = (clock or SystemClock()).wall
    return lambda: generator.at(int(now()))


def _problem(username: object, password: object, totp: object) -> str | None:
    """Return what is wrong with these values, or None."""
    if not isinstance(username, str) or not username.strip():
        return "username must be the account's e-mail address, a non-empty str"
    values = {"password": password} if totp is None else {"password": password, "totp": totp}
    for name, value in values.items():
        blank = isinstance(value, str) and not (value.strip() if name == "totp" else value)
        if blank or not (callable(value) or isinstance(value, str)):
            return f"{name} must be a non-empty str or a callable, not {kind_of_value(value)}"
    return None


def _cleaned(code: Secret) -> Secret:
    """Return a code of digits as a machine would write it; any other, such as one for an emergency, as it is."""
    digits = re.sub(_SEPARATORS, "", code)
    return Secret(digits) if digits.isascii() and digits.isdecimal() else code
