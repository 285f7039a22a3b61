"""The token endpoint's protocol, without I/O: a grant becomes a form and headers, an answer a `Token` or an error.

What the service says is in RFC 6749 (4.3, 5, 6) and in Nexudus' documentation of `POST /api/token`. Here an answer is
taken for what it is: possibly cut off, not JSON, of wrong types, or from something that is not Nexudus at all.
Nothing here raises anything but a `NexudusAuthError`, and no text made here holds a secret.
"""

import enum
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import quote, quote_plus, urlencode

from nexudus_async._ratelimit.retry_after import retry_after, wait_in_words
from nexudus_async._token import VISIBLE_ASCII, Secret, SecretBytes, Token
from nexudus_async.errors import (
    ConfigurationError,
    CredentialsRejectedError,
    EndpointUnavailableError,
    MalformedResponseError,
    PasswordResetRequiredError,
    TokenEndpointError,
    TotpRequiredError,
    WrongHostError,
)

TOKEN_PATH: Final = "/api/token"  # noqa: S105 - a path
MAX_LIFETIME: Final = 10 * 366 * 86400.0
"""Seconds. An `expires_in` beyond ten years is an error of the service, and would overflow dates."""
MAX_DESCRIPTION: Final = 200
"""Characters of the service's own words that a message shows."""
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,9})?")
_OK = 200
_TOO_MANY_REQUESTS = 429
_THROTTLED: Final = (409, _TOO_MANY_REQUESTS)


class Fate(enum.Enum):
    """What a failed attempt means for the refresh token it carried, and so for trying again."""

    NOT_SENT = "not sent"
    THROTTLED = "throttled"
    BROKEN = "a complete answer, but not from a working service"
    LOST = "the answer was lost: the token may have been used"
    UNCLEAR = "refused, without a reason that the service gives: perhaps by a firewall"
    REFUSED = "the service refused"


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """One request for a token: what to send, and what must not appear in a message about it."""

    grant: Literal["password", "refresh_token"]
    client_id: str
    form: SecretBytes = field(repr=False)
    secrets: tuple[Secret, ...] = field(repr=False)
    refresh_token: str | None = field(repr=False, default=None)
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
    """A complete HTTP answer, and the wall-clock times in seconds between which it came about."""

    status: int
    headers: Mapping[str, str]
    body: SecretBytes = field(repr=False)
    sent_at: float
    received_at: float


def sign_in(username: str, password: Secret, totp: Secret | None, client_id: str) -> GrantRequest:
    """Return the password grant (RFC 6749, section 4.3.2)."""
    fields = {"grant_type": "password", "username": username, "password": password}
    if totp is not None:
        fields["totp"] = totp
    try:
        form = urlencode(fields).encode()
    except UnicodeEncodeError:
        raise ConfigurationError("user name, password and code must be text that UTF-8 can encode") from None
    return GrantRequest("password", client_id, SecretBytes(form), (password,) if totp is None else (password, totp))


def refresh(refresh_token: str, client_id: str) -> GrantRequest:
    """Return the refresh grant (RFC 6749, section 6) for the `client_id` that the token was issued to."""
    form = urlencode({"grant_type": "refresh_token", "refresh_token": refresh_token})
    return GrantRequest(
        "refresh_token", client_id, SecretBytes(form.encode()), (Secret(refresh_token),), Secret(refresh_token)
    )


def parse_answer(request: GrantRequest, answer: Answer, default_lifetime: float) -> Token:
    """Return the token in `answer`, or raise the `TokenEndpointError` that it amounts to."""
    result = _interpret(request, answer, default_lifetime)
    del request, answer  # a traceback that shows local variables must have nothing to show
    if isinstance(result, Token):
        return result
    raise result


def fate_of(error: TokenEndpointError) -> Fate:
    """Return what a failed attempt means. An attempt that got no answer says so itself: see `exchange.py`."""
    if isinstance(error, EndpointUnavailableError):
        return Fate.THROTTLED if error.status in _THROTTLED else Fate.BROKEN
    if isinstance(error, MalformedResponseError):
        return Fate.LOST if error.status is None or _successful(error.status) else Fate.UNCLEAR
    return Fate.REFUSED


def _interpret(request: GrantRequest, answer: Answer, default_lifetime: float) -> Token | TokenEndpointError:
    document = _json_object(answer.body)
    code = document.get("error") if document is not None else None
    if document is not None and code is not None and code != "":
        return _oauth_error(request, answer, code if isinstance(code, str) else "", document)
    if not _successful(answer.status):
        return _http_error(answer)
    if document is None:
        return _not_json(answer)
    try:
        return _token(request, answer, document, default_lifetime)
    except ValueError as exc:
        return MalformedResponseError(f"the token endpoint's answer is not a token: {exc}", status=answer.status)


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None  # pyright: ignore[reportUnknownVariableType] - JSON's keys are str


def _oauth_error(request: GrantRequest, answer: Answer, code: str, document: Mapping[str, Any]) -> TokenEndpointError:
    """Decide by `error`, not by the status: the service sends 400 and 401 for the same code (RFC 6749, section 5.2)."""
    refreshing = request.grant == "refresh_token"
    status, description = answer.status, document.get("error_description")
    if code == "invalid_grant":
        words = _words(description, request.secrets)
        shown = f": {words}" if words else ""
        if refreshing:
            return TokenEndpointError(
                f"the refresh token was refused (invalid_grant{shown}); if this happens at every refresh, "
                "a proxy on the way may be dropping the client_id header",
                status=status, error=code, description=words, refresh_token_spent=True,
            )  # fmt: skip
        return CredentialsRejectedError(
            f"the sign-in was refused (invalid_grant{shown})", status=status, error=code, description=words
        )
    if code == "two_factor_auth_check":
        return TotpRequiredError(
            "the account has two-factor on, and the one-time code was missing or wrong: pass totp=, "
            "for example totp_from_secret(...)",
            status=status, error=code, refresh_token_spent=refreshing,
        )  # fmt: skip
    if code == "must_reset_password":
        return PasswordResetRequiredError(
            "the password must be reset before this account can sign in; reset_token of this error allows it",
            status=status, error=code, refresh_token_spent=refreshing,
            reset_token=Secret(description) if isinstance(description, str) and description else None,
        )  # fmt: skip
    if _unavailable(status):
        return _http_error(answer)
    known = re.fullmatch(r"[a-z_]{1,40}", code) and _masked(code, request.secrets) == code
    named = code if known else "an unknown code"
    return TokenEndpointError(
        f"the token endpoint refused the request ({named})",
        status=status, error=named, refresh_token_spent=refreshing,
    )  # fmt: skip


def _http_error(answer: Answer) -> TokenEndpointError:
    status = answer.status
    if 300 <= status < 400 or status in (404, 405):
        return _wrong_host(answer)
    if _unavailable(status):
        return EndpointUnavailableError(
            f"the token endpoint answered {status}", status=status, retry_after=_retry_after(answer)
        )
    return MalformedResponseError(f"the token endpoint answered {status} without an OAuth error", status=status)


def _not_json(answer: Answer) -> TokenEndpointError:
    start = bytes(answer.body[:200]).lstrip().lower()
    content_type = answer.headers.get("Content-Type", "").lower()
    if "html" in content_type or start.startswith((b"<!doctype html", b"<html")):
        return _wrong_host(answer)
    return MalformedResponseError("the token endpoint's answer is not a JSON object", status=answer.status)


def _wrong_host(answer: Answer) -> WrongHostError:
    return WrongHostError(
        f"this is not the token endpoint (it answered {answer.status}): base_url must be https://spaces.nexudus.com "
        "or https://NAME.spaces.nexudus.com, not a location's own portal domain",
        status=answer.status,
    )


def _token(request: GrantRequest, answer: Answer, document: Mapping[str, Any], default_lifetime: float) -> Token:
    """Return the token of a success document; raise `ValueError`, naming the field and no value, for anything else."""
    token_type = document.get("token_type")
    if token_type is not None and (not isinstance(token_type, str) or token_type.lower() != "bearer"):
        raise ValueError("token_type is not bearer")
    access_token = _credential("access_token", document.get("access_token"))
    if access_token is None:
        raise ValueError("access_token is missing")
    lifetime = _lifetime(document.get("expires_in"), default_lifetime)
    return Token(
        access_token=access_token,
        refresh_token=_credential("refresh_token", document.get("refresh_token")) or request.refresh_token,
        token_type="bearer",  # noqa: S106 - a type, not a token
        client_id=request.client_id,
        lifetime=lifetime,
        expires_at=datetime.fromtimestamp(answer.sent_at + lifetime, UTC),
    )


def _credential(name: str, value: object) -> Secret | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not VISIBLE_ASCII.fullmatch(value):
        raise ValueError(f"{name} has characters that no token has")
    return Secret(value)


def _lifetime(value: object, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    endless = isinstance(value, float) and not math.isfinite(value)  # an int may be too large to ask
    if isinstance(value, bool) or not isinstance(value, int | float) or endless:
        raise ValueError("expires_in is not a number of seconds")
    if value <= 0:
        raise ValueError("expires_in is not positive")
    if value > MAX_LIFETIME:
        raise ValueError("expires_in is more than ten years")
    return float(value)


def _retry_after(answer: Answer) -> float | None:
    """Return the seconds that an answer asks to wait: by its header, or a 429 in the words of its body."""
    seconds = retry_after(answer.headers, answer.received_at)
    return wait_in_words(answer.body) if seconds is None and answer.status == _TOO_MANY_REQUESTS else seconds


def _words(description: object, secrets: tuple[Secret, ...]) -> str | None:
    """Return the service's words on one line, cut, without what we sent in any of the ways it may come back."""
    if not isinstance(description, str):
        return None
    masked = _masked(description, secrets)
    line = " ".join("".join(c if c.isprintable() else " " for c in masked).split())
    return line[:MAX_DESCRIPTION] or None


def _masked(text: str, secrets: tuple[Secret, ...]) -> str:
    """Return `text` without the secrets: plain, or encoded for a URL, JSON or HTML, in whichever case."""
    forms = {form for secret in secrets for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):  # one may be a part of another
        text = re.sub(re.escape(form), "***", text, flags=re.IGNORECASE)  # %C3 and %c3 are the same
    return text


def _forms(secret: str) -> tuple[str, ...]:
    import html  # noqa: PLC0415 - its table of entities would make importing this package slower by a tenth

    as_json = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]
    return secret, quote_plus(secret), quote(secret, safe=""), *as_json, html.escape(secret)


def _unavailable(status: int) -> bool:
    return status in _THROTTLED or status >= 500 or status == 408


def _successful(status: int) -> bool:
    return 200 <= status < 300
