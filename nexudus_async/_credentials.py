"""Who signs in: a user name, a password, and where a one-time code comes from.

Values are handed over only for a sign-in, one at a time. A callable is asked anew for each, so that a password in a
vault is never kept here, and a one-time code is never an old one.
"""

import inspect
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NoReturn

from ._clock import Clock, SystemClock
from ._secret import Secret
from .errors import ConfigurationError, NexudusAuthError

__all__ = ["PasswordCredentials", "totp_from_secret"]

_BASE32 = re.compile("[A-Z2-7]+")
Provider = Callable[[], str | Awaitable[str]]


@dataclass(frozen=True, slots=True)
class PasswordCredentials:
    """The credentials of one account (RFC 6749, section 4.3; https://developers.nexudus.com, "Authentication").

    username: the e-mail address the customer signs in with.
    password: the password, or a callable that returns it or an awaitable of it.
    totp: the one-time code of an account with two-factor on, or a callable for it such as `totp_from_secret` gives.
        A code given as text is good for one sign-in.

    Callables run on the event loop and must not block it; what they raise comes out as `ConfigurationError` with the
    cause attached. Raises `ConfigurationError` for empty or wrongly typed values. Safe to share between sessions.
    """

    username: str
    password: str | Provider = field(repr=False)
    totp: str | Provider | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.username, str) or not self.username.strip():
            raise ConfigurationError("username must be the account's e-mail address, a non-empty str")
        object.__setattr__(self, "password", _checked("password", self.password))
        if self.totp is not None:
            object.__setattr__(self, "totp", _checked("totp", self.totp))

    @classmethod
    def from_env(cls) -> "PasswordCredentials":
        """Return the credentials in NEXUDUS_USERNAME, NEXUDUS_PASSWORD and, with two-factor on, NEXUDUS_TOTP_SECRET.

        Raises `ConfigurationError` naming the variable that is missing.
        """
        secret = os.environ.get("NEXUDUS_TOTP_SECRET")
        return cls(
            _variable("NEXUDUS_USERNAME"),
            _variable("NEXUDUS_PASSWORD"),
            totp_from_secret(secret) if secret else None,
        )

    async def fetch_password(self) -> Secret:
        """Return the password for one sign-in."""
        return await _fetch("password", self.password)

    async def fetch_totp(self) -> Secret | None:
        """Return the one-time code for one sign-in, or None for an account without two-factor."""
        return None if self.totp is None else await _fetch("totp", self.totp)

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

    key = Secret(re.sub(r"[\s=-]", "", secret).upper())
    if not _BASE32.fullmatch(key):
        raise ConfigurationError("the TOTP secret must be the base32 key shown when two-factor was set up")
    try:
        generator = Generator(key)
    except Exception:  # noqa: BLE001 - whatever the library raises would show the key
        raise ConfigurationError("the TOTP secret must be the base32 key shown when two-factor was set up") from None
    now = (clock or SystemClock()).wall

    def code() -> str:
        return generator.at(int(now()))

    return code


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigurationError(f"set the environment variable {name}")
    return value


def _checked(name: str, value: object) -> object:
    if callable(value):
        return value
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{name} must be a non-empty str or a callable, not {_kind(value)}")
    return Secret(value)


async def _fetch(name: str, source: str | Provider) -> Secret:
    if isinstance(source, str):
        return Secret(source)
    try:
        value = source()
        if inspect.isawaitable(value):
            value = await value
    except NexudusAuthError:
        raise
    except Exception as exc:
        raise ConfigurationError(f"the {name} callable raised {type(exc).__name__}") from exc
    if isinstance(value, str) and value:
        return Secret(value)
    kind = _kind(value)
    del value  # it may be the secret all the same, in another type
    raise ConfigurationError(f"the {name} callable must return a non-empty str, not {kind}")


def _kind(value: object) -> str:
    return "an empty str" if value == "" else type(value).__name__
