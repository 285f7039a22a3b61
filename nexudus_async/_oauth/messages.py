"""What is sent to the token endpoint, and the answer that comes back: values, without I/O."""

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlencode

from nexudus_async._events import Grant
from nexudus_async._token import Secret, SecretBytes
from nexudus_async.errors import ConfigurationError

from .words import oddities

TOKEN_PATH: Final = "/api/token"  # noqa: S105 - a path
EXCHANGE_PATH: Final = "/api/sys/users/exchange"


class GrantRequest(NamedTuple):
    """One request for a token: what to send, and what must not appear in a message about it.

    client_id: what the token is bound to; sent as a header, but for an exchange.
    query: of the URL, encoded; a secret, and so is the URL then.
    oddities: what a refusal may come of, in words.
    """

    grant: Grant
    client_id: str | None
    form: SecretBytes
    secrets: tuple[Secret, ...]
    refresh_token: Secret | None = None
    oddities: str = ""
    path: str = TOKEN_PATH
    query: Secret | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """What is sent besides what aiohttp adds."""
        if self.grant == "exchange" or self.client_id is None:
            return {"Accept": "application/json"}
        return {
            "client_id": self.client_id,
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }


class Answer(NamedTuple):
    """A complete HTTP answer, the wall-clock times in seconds between which it came about, and who was asked."""

    status: int
    headers: Mapping[str, str]
    body: SecretBytes
    sent_at: float
    received_at: float
    host: str = ""

    def __repr__(self) -> str:
        return f"<Answer {self.status} of {self.host}>"  # headers may hold a cookie


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


def exchange(jwt: Secret, minutes: int, username: str | None) -> GrantRequest:
    """Return the exchange of a one-time JWT. username: the e-mail address that the service binds the session to."""
    query = Secret(urlencode({"token": jwt, "validForInMinutes": minutes}))
    return GrantRequest("exchange", username, SecretBytes(b""), (jwt,), path=EXCHANGE_PATH, query=query)


def _form(fields: Mapping[str, str]) -> SecretBytes | None:
    try:
        return SecretBytes(urlencode(fields).encode())
    except UnicodeEncodeError:  # which shows the value: nothing may be raised from it
        return None
