"""What is sent to the token endpoint, and the answer that comes back: values, without I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlencode

from nexudus_async._token import Secret, SecretBytes
from nexudus_async.errors import ConfigurationError

from .words import oddities

TOKEN_PATH: Final = "/api/token"  # noqa: S105 - a path


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """One request for a token: what to send, and what must not appear in a message about it.

    oddities: what a refusal may come of, in words.
    """

    grant: Literal["password", "refresh_token"]
    client_id: str
    form: SecretBytes = field(repr=False)
    secrets: tuple[Secret, ...] = field(repr=False)
    refresh_token: str | None = field(repr=False, default=None)
    oddities: str = ""
    headers: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        headers = {
            "client_id": self.client_id,
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        object.__setattr__(self, "headers", headers)


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer, the wall-clock times in seconds between which it came about, and who was asked."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: SecretBytes = field(repr=False)
    sent_at: float
    received_at: float
    host: str = ""


def sign_in(username: str, password: Secret, totp: Secret | None, client_id: str) -> GrantRequest:
    """Return the password grant (RFC 6749, section 4.3.2)."""
    fields = {"grant_type": "password", "username": username, "password": password}
    if totp is not None:
        fields["totp"] = totp
    form = _form(fields)
    if form is None:
        raise ConfigurationError("user name, password and code must be text that UTF-8 can encode")
    sent = (password,) if totp is None else (password, totp)
    return GrantRequest("password", client_id, form, sent, oddities=oddities(username, password))


def refresh(refresh_token: str, client_id: str) -> GrantRequest:
    """Return the refresh grant (RFC 6749, section 6) for the `client_id` that the token was issued to."""
    form = _form({"grant_type": "refresh_token", "refresh_token": refresh_token})
    if form is None:
        raise ConfigurationError("the refresh token must be text that UTF-8 can encode")
    return GrantRequest("refresh_token", client_id, form, (Secret(refresh_token),), Secret(refresh_token))


def _form(fields: Mapping[str, str]) -> SecretBytes | None:
    try:
        return SecretBytes(urlencode(fields).encode())
    except UnicodeEncodeError:  # which shows the value: nothing may be raised from it
        return None
