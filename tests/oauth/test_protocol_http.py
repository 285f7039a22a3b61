"""Answers without an OAuth error: of a proxy, of another host, of a service in trouble."""

import json
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from nexudus_async import EndpointUnavailableError, MalformedResponseError, WrongHostError
from nexudus_async._oauth.failures import Fate, fate_of
from tests.leaks import printed

from .grants import GOOD, RENEWAL, SENT_AT, fail

HTML = b"<!doctype html><title>Portal</title>"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 404, 405])
@pytest.mark.parametrize("raw", [b"", HTML, b"{}"])
def test_a_redirect_or_a_405_is_a_wrong_host(status: int, raw: bytes) -> None:
    """A location's own portal: the message says which host to use."""
    error = fail(status=status, raw=raw, headers={"Location": "https://elsewhere.example/?x=1"})
    assert type(error) is WrongHostError
    assert "spaces.nexudus.com" in str(error)
    assert str(status) in str(error)
    assert "elsewhere" not in printed(error)
    assert (error.transient, fate_of(error)) == (False, Fate.REFUSED)


@pytest.mark.parametrize(
    ("raw", "headers"),
    [
        (HTML, {"Content-Type": "text/html; charset=utf-8"}),
        (HTML, {}),
        (b"\r\n  <HTML><body>", {}),
        (b"", {"content-type": "Text/HTML"}),
        (b"<p>hello", {"Content-Type": "application/xhtml+xml, text/html"}),
    ],
)
def test_a_page_with_200_is_a_wrong_host(raw: bytes, headers: dict[str, str]) -> None:
    """As the portal answers."""
    assert type(fail(status=200, raw=raw, headers=headers)) is WrongHostError


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 408])
@pytest.mark.parametrize("raw", [b"", HTML, b'{"Message": "An error has occurred."}', b'{"error": "server_error"}'])
def test_a_broken_service_is_unavailable(status: int, raw: bytes) -> None:
    """A page with 502 is a proxy in trouble, not a wrong host. The refresh token is not spent."""
    error = fail(RENEWAL, status, raw=raw, headers={"Content-Type": "text/html"})
    assert type(error) is EndpointUnavailableError
    assert (error.transient, error.refresh_token_spent, error.retry_after) == (True, False, None)
    assert fate_of(error) is Fate.BROKEN


@pytest.mark.parametrize("status", [409, 429, 503])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("9999999999", 9_999_999_999.0),
        (format_datetime(datetime.fromtimestamp(SENT_AT + 61, UTC), usegmt=True), 60.0),
        (format_datetime(datetime.fromtimestamp(SENT_AT - 61, UTC), usegmt=True), 0.0),
        ("Thursday, 01-Jan-26 00:01:01 GMT", 60.0),
        ("Thu Jan  1 00:01:01 2026", 60.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", 0.0),
        ("5.5", 5.5),
        ("1e3", None),
        ("\N{ARABIC-INDIC DIGIT FIVE}", None),
        ("99999999999", 9_999_999_999.0),
        ("Wed, 99 Foo 2026 99:99:99 GMT", None),
        ("Thu, 01 Jan 2026", None),
        ("Thu, 01 Jan 99999 00:00:00 GMT", None),
    ],
)
def test_every_form_of_retry_after(status: int, value: str | None, seconds: float | None) -> None:
    """Seconds, a date of any of the three kinds (RFC 9110, section 5.6.7), garbage; capped later, by back-off."""
    error = fail(status=status, body={"Message": "Wait"}, headers={} if value is None else {"retry-after": value})
    assert type(error) is EndpointUnavailableError
    assert error.retry_after == seconds
    assert fate_of(error) is (Fate.BROKEN if status == 503 else Fate.THROTTLED)


@pytest.mark.parametrize("status", [409, 429])
def test_throttling_with_a_code_of_its_own_is_throttling(status: int) -> None:
    """The refresh token is not spent."""
    error = fail(RENEWAL, status, {"error": "too_many_requests"}, headers={"Retry-After": "3"})
    assert (type(error), error.retry_after, error.refresh_token_spent) == (EndpointUnavailableError, 3.0, False)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        json.dumps(GOOD).encode()[:-1],
        json.dumps(GOOD).encode()[:40],
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf{}",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"access_token": "a", "expires_in": ' + b"9" * 5_000 + b"}",
        b"access_token=a&token_type=bearer",
    ],
    ids=range(15),
)
@pytest.mark.parametrize("status", [200, 400, 401])
def test_what_is_not_json_is_malformed(raw: bytes, status: int) -> None:
    """Cut off, empty, nested without end: no crash. With 200 the refresh token may have been used."""
    error = fail(RENEWAL, status, raw=raw)
    assert type(error) is MalformedResponseError
    assert (error.status, error.transient, error.refresh_token_spent) == (status, True, False)
    assert fate_of(error) is (Fate.LOST if status == 200 else Fate.UNCLEAR)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 410, 422])
def test_a_refusal_without_a_reason_is_malformed(status: int) -> None:
    """A firewall's, say: not a word about the credentials."""
    error = fail(status=status, body={"Message": "no"})
    assert type(error) is MalformedResponseError
    assert str(status) in str(error)
