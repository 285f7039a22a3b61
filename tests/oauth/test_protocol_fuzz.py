"""Any answer at all: a token, or an error of this package that shows no secret."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from nexudus_async import NexudusAuthError, Token, TokenEndpointError
from nexudus_async._oauth.failures import Fate, fate_of
from nexudus_async._oauth.messages import Answer, GrantRequest, sign_in
from nexudus_async._oauth.protocol import parse_answer
from nexudus_async._ratelimit.retry_after import retry_after
from nexudus_async._token import Secret, SecretBytes
from tests.leaks import printed

from .grants import ACCESS, CLIENT, GOOD, GRANTS, PASSWORD, REFRESH, RESET, SENT_AT, SENT_REFRESH, USER

WORDLIKE = "correct_horse_battery"  # a password that could pass for an error code
CODE = "one_time_code"  # so could this; digits alone appear in any number
SIGN_IN = sign_in(USER, Secret(PASSWORD), Secret(CODE), CLIENT)
LOOSE_SIGN_IN = sign_in(USER, Secret(WORDLIKE), None, CLIENT)
REQUESTS = [SIGN_IN, LOOSE_SIGN_IN, GRANTS["refresh"]]
SENT = [PASSWORD, WORDLIKE, CODE, SENT_REFRESH]
RECEIVED = [ACCESS, REFRESH, RESET]

Document = dict[str, Any]
NUMBERS = st.integers() | st.integers(10**300, 10**400) | st.floats()
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CODES = st.sampled_from(
    [
        "invalid_grant",
        "two_factor_auth_check",
        "must_reset_password",
        "unsupported_grant_type",
        "server_error",
        "",
        None,
    ]
)
FORMS: list[Callable[[str], str]] = [str, str.upper, quote_plus, quote]


@st.composite
def echo(draw: st.DrawFn) -> str:
    """Return words with something in them that was sent."""
    form = draw(st.sampled_from(FORMS))
    return draw(st.text(max_size=220)) + form(draw(st.sampled_from(SENT))) + draw(st.text(max_size=20))


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "access_token": st.just(ACCESS) | JSON,
    "token_type": st.just("bearer") | JSON,
    "expires_in": st.just(3600) | NUMBERS.map(str) | JSON,
    "refresh_token": st.just(REFRESH) | JSON,
    "error": CODES | st.sampled_from(SENT) | JSON,
    "error_description": st.just("no") | echo() | JSON,
}
REFUSALS: st.SearchStrategy[Document] = st.fixed_dictionaries(
    {"error": CODES, "error_description": echo() | st.just(RESET) | JSON}
)
ANYTHING: st.SearchStrategy[Document] = st.fixed_dictionaries({}, optional=FIELDS)


@st.composite
def one_wrong(draw: st.DrawFn) -> Document:
    """Return a good document, one member of it perhaps not."""
    name = draw(st.sampled_from(sorted(FIELDS)))
    return GOOD | {name: draw(FIELDS[name])}


def is_sensible(document: Document) -> bool:
    """The reset token comes with its own error only."""
    return document.get("error") == "must_reset_password" or document.get("error_description") != RESET


DOCUMENTS = (one_wrong() | REFUSALS | ANYTHING).filter(is_sensible)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a valid document with a piece of it changed, left out or doubled, as a broken proxy does."""
    body = json.dumps(draw(DOCUMENTS)).encode()
    start = draw(st.integers(0, len(body)))
    end = draw(st.integers(start, min(len(body), start + 12)))
    return body[:start] + draw(st.binary(max_size=6) | st.just(body[start:end] * 2)) + body[end:]


def to_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


BODIES = st.binary() | DOCUMENTS.map(to_bytes) | mutated() | JSON.map(to_bytes)
STATUSES = st.sampled_from([200, 400, 401, 409, 429, 500, 502, 302, 405]) | st.integers(100, 599)
HEADERS = st.dictionaries(
    st.sampled_from(["Content-Type", "Date", "Location", "Retry-After"]),
    st.sampled_from(["text/html", "application/json", "5", "Wed, 21 Oct 2026 07:28:00 GMT"])
    | st.sampled_from(["utf-16", "latin-1", "utf-7", "idna"]).map("application/json; charset={}".format)
    | echo().map("https://{}.example/".format)
    | st.text(),
)


def judge(request: GrantRequest, status: int, headers: dict[str, str], body: bytes) -> Token | NexudusAuthError:
    """Return what comes of an answer. Anything but a `NexudusAuthError` comes out and fails the test."""
    answer = Answer(status, CIMultiDict(headers), SecretBytes(body), SENT_AT, SENT_AT + 1)
    try:
        return parse_answer(request, answer, 3600.0)
    except NexudusAuthError as error:
        return error


@given(st.sampled_from(REQUESTS), STATUSES, HEADERS, BODIES)
@example(SIGN_IN, 200, {}, b'{"access_token": "a", "expires_in": 1' + b"0" * 400 + b"}")
@example(LOOSE_SIGN_IN, 400, {}, json.dumps({"error": WORDLIKE}).encode())
@example(SIGN_IN, 400, {}, json.dumps({"error": "invalid_grant", "error_description": f"not {CODE}"}).encode())
@example(SIGN_IN, 200, {}, b"[" * 100_000)
@example(SIGN_IN, 200, {}, b"9" * 5_000)
def test_any_answer_is_a_token_or_an_error_without_a_secret(
    request: GrantRequest, status: int, headers: dict[str, str], body: bytes
) -> None:
    """Nothing else comes out, and nothing that we sent or got is in any text of it."""
    result = judge(request, status, headers, body)
    if isinstance(result, Token):
        assert 200 <= status < 300
        assert result.lifetime > 0
        assert result.authorization.isascii()
        assert result.authorization.isprintable()
        text = repr(result) + str(result)
    else:
        assert isinstance(result, TokenEndpointError)
        assert "\n" not in str(result)
        assert fate_of(result) is not Fate.NOT_SENT
        assert result.refresh_token_spent is False or request.grant == "refresh_token"
        text = printed(result)
    shown = [secret for secret in (*request.secrets, *RECEIVED) if secret.casefold() in text.casefold()]
    assert not shown, text


@given(st.sampled_from(REQUESTS), STATUSES, HEADERS)
def test_a_good_document_is_a_token_with_a_success_and_an_error_with_anything_else(
    request: GrantRequest, status: int, headers: dict[str, str]
) -> None:
    """A status decides when no error is named."""
    result = judge(request, status, headers, json.dumps(GOOD).encode())
    assert isinstance(result, Token) is (200 <= status < 300)


TIMES = st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{1,6} [0-9:]{8} .*")


@given(TIMES, TIMES, st.floats(0, 4e9))
def test_any_retry_after_is_seconds_or_nothing(value: str, date: str, now: float) -> None:
    """Never negative, never a crash."""
    seconds = retry_after({"Retry-After": value, "Date": date}, now)
    assert seconds is None or seconds >= 0


def test_the_fuzz_looks_where_it_should() -> None:
    """Its search finds a secret in each of the places, or its silence would prove nothing."""

    def fail(local: Any) -> None:
        raise NexudusAuthError(f"text {SENT_REFRESH}")

    with pytest.raises(NexudusAuthError) as caught:
        fail(ACCESS)
    assert SENT_REFRESH in printed(caught.value)
