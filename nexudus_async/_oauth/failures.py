"""What an answer that is not a token amounts to: an error, and what that means for the refresh token. Without I/O."""

import enum
import re
from collections.abc import Mapping
from typing import Any, Final

from nexudus_async._ratelimit.retry_after import THROTTLED, TOO_MANY_REQUESTS, retry_after, wait_in_words
from nexudus_async._token import Secret
from nexudus_async.errors import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    MalformedResponseError,
    PasswordResetRequiredError,
    TokenEndpointError,
    TotpRequiredError,
    WrongHostError,
)

from .messages import Answer, GrantRequest
from .words import host_in, masked, words

MISTAKES: Final = ("unsupported_grant_type", "invalid_request", "invalid_scope")
"""Codes for a request that is wrong in itself, whoever signs in."""
TROUBLE: Final = ("server_error", "temporarily_unavailable")
"""Codes for a service that cannot answer now (RFC 6749, section 4.1.2.1)."""
NOT_THIS_CLIENT: Final = ("invalid_grant", "invalid_client", "unauthorized_client")
"""Codes for a refused refresh that may come of a `client_id` header that did not arrive."""
PORTAL: Final = ".nexudus.site"
_LABEL: Final = r"[a-z0-9-]{1,63}"
_OF_THE_SERVICE: Final = (500, 503)
"""A complete answer of the service itself, that says that it did nothing."""
_TIMED_OUT_OR_GIVEN_UP: Final = (408, 499)
_REFUSALS: Final = (400, 401, 403)


class Fate(enum.Enum):
    """What a failed attempt means for the refresh token it carried, and so for trying again."""

    NOT_SENT = "not sent"
    THROTTLED = "throttled"
    BROKEN = "a complete answer, but not from a working service"
    LOST = "the answer was lost, or is a gateway's: the token may have been used"
    UNREADABLE = "an answer came that is no HTTP: as lost, but the same one would come again"
    UNCLEAR = "refused, without a reason that the service gives: perhaps by a firewall"
    REFUSED = "the service refused"


NOT_USED: Final = (Fate.NOT_SENT, Fate.THROTTLED, Fate.BROKEN)
"""What is known to have left a credential for one use as it was."""
FINAL: Final = (Fate.UNREADABLE, Fate.UNCLEAR, Fate.REFUSED)
"""What another try would come to as well."""


def fate_of(error: TokenEndpointError) -> Fate:
    """Return what a failed attempt means. An attempt that got no answer says so itself: see `transport.py`."""
    if isinstance(error, EndpointUnavailableError):
        if error.status in THROTTLED:
            return Fate.THROTTLED
        return Fate.LOST if error.status is not None and _of_a_gateway(error.status) else Fate.BROKEN
    if isinstance(error, MalformedResponseError):
        return Fate.LOST if error.status is None or successful(error.status) else Fate.UNCLEAR
    return Fate.REFUSED


def oauth_error(request: GrantRequest, answer: Answer, code: str, document: Mapping[str, Any]) -> TokenEndpointError:
    """Decide by `error`, not by the status: the service sends 400 and 401 for the same code (RFC 6749, section 5.2)."""
    refreshing = request.grant == "refresh_token"
    status, description = answer.status, document.get("error_description")
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
    known = code in (*MISTAKES, *NOT_THIS_CLIENT)
    if _unavailable(status) and not known:
        return http_error(request, answer)
    if code in TROUBLE:
        return EndpointUnavailableError(f"the token endpoint answered {status} ({code})", status=status, error=code)
    if not known and not (re.fullmatch(r"[a-z_]{1,40}", code) and masked(code, request.secrets) == code):
        code = "an unknown code"
    own_words = words(description, request.secrets) if code == "invalid_grant" else None
    shown = f"{code}: {own_words}" if own_words else code
    kind, message = TokenEndpointError, f"the token endpoint refused the request ({shown})"
    if refreshing and code in NOT_THIS_CLIENT:
        message = (
            f"the refresh token was refused ({shown}); if this happens at every refresh, "
            "a proxy on the way may be dropping the client_id header"
        )
    elif not refreshing and code not in MISTAKES and (known or status in _REFUSALS):
        what = "one-time JWT" if request.grant == "exchange" else "sign-in"
        kind, message = CredentialsRejectedError, f"the {what} was refused ({shown}){request.oddities}"
    return kind(message, status=status, error=code, description=own_words, refresh_token_spent=refreshing)


def http_error(request: GrantRequest, answer: Answer) -> TokenEndpointError:
    """Return what an answer amounts to that is no success and has no `error`: its status is all there is."""
    status = answer.status
    if 300 <= status < 400 or status in (404, 405):
        return _wrong_host(request, answer)
    if request.grant == "exchange" and status in _REFUSALS:
        return CredentialsRejectedError(
            f"the one-time JWT was refused ({status}): it was used, or has expired, or its account is suspended",
            status=status,
        )
    if not _unavailable(status):
        return MalformedResponseError(f"the token endpoint answered {status} without an OAuth error", status=status)
    message = f"the token endpoint answered {status}"
    if status == 500 and request.grant == "password":
        message += ", as Nexudus does, too, when there is no account of that user name: check it"
    elif _of_a_gateway(status):
        message = f"a gateway on the way to the token endpoint answered {status}"
    return EndpointUnavailableError(message, status=status, retry_after=_retry_after(answer))


def not_json(request: GrantRequest, answer: Answer) -> TokenEndpointError:
    """Return what a success without a JSON object amounts to."""
    start = bytes(answer.body[:200]).lstrip().lower()
    content_type = answer.headers.get("Content-Type", "").lower()
    if "html" in content_type or start.startswith((b"<!doctype html", b"<html")):
        return _wrong_host(request, answer)
    return MalformedResponseError("the token endpoint's answer is not a JSON object", status=answer.status)


def _wrong_host(request: GrantRequest, answer: Answer) -> WrongHostError:
    """Return the error for a redirect, a 404 or 405, or a page: it names the host to write instead."""
    status, elsewhere = answer.status, None
    if 300 <= status < 400:
        elsewhere = host_in(answer.headers.get("Location", ""), request.secrets)
    redirect = f", a redirect to {elsewhere}" if elsewhere else ""
    instead = "base_url must be https://spaces.nexudus.com or https://NAME.spaces.nexudus.com"
    if answer.host.endswith(PORTAL):
        name = answer.host.removesuffix(PORTAL)
        name = name if re.fullmatch(_LABEL, name) else "NAME"
        instead = f"{answer.host} is a portal; base_url must be https://{name}.spaces.nexudus.com"
    return WrongHostError(
        f"this is not the token endpoint (it answered {status}{redirect}): {instead}, "
        "not a location's own portal domain", status=status,
    )  # fmt: skip


def _retry_after(answer: Answer) -> float | None:
    """Return the seconds that an answer asks to wait: by its header, or a 429 in the words of its body."""
    seconds = retry_after(answer.headers, answer.received_at)
    return wait_in_words(answer.body) if seconds is None and answer.status == TOO_MANY_REQUESTS else seconds


def _unavailable(status: int) -> bool:
    return status in THROTTLED or status in _OF_THE_SERVICE or _of_a_gateway(status)


def _of_a_gateway(status: int) -> bool:
    """Tell whether a status may be that of something in between, which cannot tell what the service has done.

    502 and 504 are (RFC 9110, 15.6), and what gateways have invented: 499 of nginx, 520 to 530 of Cloudflare, 561 and
    598 of others. So is 408, with which some give up on a service that is slow.
    """
    return status in _TIMED_OUT_OR_GIVEN_UP or (status >= 500 and status not in _OF_THE_SERVICE)


def successful(status: int) -> bool:
    """Tell whether a status is one of success (RFC 9110, 15.3)."""
    return 200 <= status < 300
