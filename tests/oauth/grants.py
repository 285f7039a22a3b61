"""A grant, an answer to it, and what `parse_answer` makes of it."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from multidict import CIMultiDict

from nexudus_async import Token, TokenEndpointError
from nexudus_async._oauth.messages import Answer, GrantRequest, refresh, sign_in
from nexudus_async._oauth.protocol import parse_answer
from nexudus_async._token import Secret, SecretBytes

USER, PASSWORD, CODE, CLIENT = "ops@example.com", 'pa&s=w+o r%d/é"\\n', "493817", "worker-1"
SENT_REFRESH = "0123456789abcdef0123456789abcdef"
ACCESS, REFRESH, RESET = "AcCeSs-7f3e.tok_en", "fedcba9876543210fedcba9876543210", "ReSeT-51fe-9d"
SENT_AT = 1_767_225_600.0

SIGN_IN = sign_in(USER, Secret(PASSWORD), Secret(CODE), CLIENT)
REFRESH_GRANT = refresh(SENT_REFRESH, CLIENT)
GRANTS = {"sign-in": SIGN_IN, "refresh": REFRESH_GRANT}
GOOD: dict[str, Any] = {
    "access_token": ACCESS,
    "token_type": "bearer",
    "expires_in": 604_799,
    "refresh_token": REFRESH,
}


def answer(
    status: int = 200,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    *,
    raw: bytes | None = None,
    took: float = 1.0,
) -> Answer:
    """Return an answer with `body` as JSON, or with the bytes of `raw`."""
    content = json.dumps(GOOD if body is None else body).encode() if raw is None else raw
    return Answer(status, CIMultiDict(headers or {}), SecretBytes(content), SENT_AT, SENT_AT + took)


def parse(
    request: GrantRequest = SIGN_IN,
    status: int = 200,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    *,
    raw: bytes | None = None,
) -> Token:
    return parse_answer(request, answer(status, body, headers, raw=raw), 3600.0)


def fail(request: GrantRequest = SIGN_IN, status: int = 400, body: object = None, **rest: Any) -> TokenEndpointError:
    """Return the error that an answer amounts to."""
    with pytest.raises(TokenEndpointError) as caught:
        parse(request, status, body, **rest)
    return caught.value
