"""The token endpoint's protocol, without I/O: an answer becomes a `Token` or an error.

What the service says is in RFC 6749 (4.3, 5, 6) and in Nexudus' documentation of `POST /api/token`. Here an answer is
taken for what it is: possibly cut off, not JSON, of wrong types, or from something that is not Nexudus at all.
Nothing here raises anything but a `NexudusAuthError`, and no text made here holds a secret.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from nexudus_async._token import VISIBLE_ASCII, Secret, Token
from nexudus_async.errors import MalformedResponseError, TokenEndpointError

from .body import json_object, refusal_in
from .failures import http_error, not_json, oauth_error, successful
from .messages import Answer, GrantRequest

MAX_LIFETIME: Final = 10 * 366 * 86400.0
"""Seconds. An `expires_in` beyond ten years is an error of the service, and would overflow dates."""
_NUMBER: Final = r"[+-]?[0-9]{1,15}(\.[0-9]{1,9})?"


def parse_answer(request: GrantRequest, answer: Answer, default_lifetime: float) -> Token:
    """Return the token in `answer`, or raise the `TokenEndpointError` that it amounts to."""
    result = _interpret(request, answer, default_lifetime)
    del request, answer  # a traceback that shows local variables must have nothing to show
    if isinstance(result, Token):
        return result
    raise result


def _interpret(request: GrantRequest, answer: Answer, default_lifetime: float) -> Token | TokenEndpointError:
    content_type = answer.headers.get("Content-Type", "")
    document = json_object(answer.body, content_type)
    if document is None and not successful(answer.status):
        document = refusal_in(answer.body, content_type)
    code = document.get("error") if document is not None else None
    if document is not None and code is not None and code != "":
        return oauth_error(request, answer, code if isinstance(code, str) else "", document)
    if not successful(answer.status):
        return http_error(request, answer)
    if document is None:
        return not_json(request, answer)
    try:
        return _token(request, answer, document, default_lifetime)
    except ValueError as exc:
        return MalformedResponseError(f"the token endpoint's answer is not a token: {exc}", status=answer.status)


def _token(request: GrantRequest, answer: Answer, document: Mapping[str, Any], default_lifetime: float) -> Token:
    """Return the token of a success document; raise `ValueError`, naming the field and no value, for anything else."""
    token_type = document.get("token_type")
    if token_type is not None and (not isinstance(token_type, str) or token_type.lower() != "bearer"):
        raise ValueError("token_type is not bearer")
    name = "token" if request.grant == "exchange" else "access_token"
    access_token = _credential(name, document.get(name))
    if access_token is None:
        raise ValueError(f"{name} is missing")
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
    if not isinstance(value, str) or not re.fullmatch(VISIBLE_ASCII, value):
        raise ValueError(f"{name} has characters that no token has")
    return Secret(value)


def _lifetime(value: object, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, str) and re.fullmatch(_NUMBER, value):
        value = float(value)
    endless = isinstance(value, float) and not math.isfinite(value)  # an int may be too large to ask
    if isinstance(value, bool) or not isinstance(value, int | float) or endless:
        raise ValueError("expires_in is not a number of seconds")
    if value <= 0:
        raise ValueError("expires_in is not positive")
    if value > MAX_LIFETIME:
        raise ValueError("expires_in is more than ten years")
    return float(value)
