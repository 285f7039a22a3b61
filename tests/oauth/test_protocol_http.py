"""Answers without an OAuth error: of a proxy, of another host, of a service in trouble."""

import json
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from nexudus_async import EndpointUnavailableError, MalformedResponseError, WrongHostError
from nexudus_async._oauth.failures import Fate, fate_of
from nexudus_async._oauth.protocol import parse_answer
from tests.leaks import printed

from .grants import GOOD, REFRESH_GRANT, SENT_AT, SENT_REFRESH, SIGN_IN, answer, fail

HTML = b"<!doctype html><title>Portal</title>"
PROXY_BODIES = [b"", HTML, b'{"Message": "An error has occurred."}', b'{"error": "server_error"}', b'{"error": "x"}']


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 404, 405])
@pytest.mark.parametrize("raw", [b"", HTML, b"{}"])
def test_a_redirect_or_a_405_is_a_wrong_host(status: int, raw: bytes) -> None:
    """A location's own portal: the message says which host to use, and where a redirect leads to, but no more of it."""
    error = fail(status=status, raw=raw, headers={"Location": "https://Elsewhere.example:8443/pa%20th?x=ReSeT"})
    assert type(error) is WrongHostError
    assert "spaces.nexudus.com" in str(error)
    assert str(status) in str(error)
    assert ("a redirect to elsewhere.example" in str(error)) is (status < 400)
    assert not any(part in printed(error) for part in ("pa%20th", "ReSeT", "8443"))
    assert (error.transient, fate_of(error)) == (False, Fate.REFUSED)


@pytest.mark.parametrize(
    "location",
    ["", "/api/token", "//", "?x", "mailto:ops@example.com", "https://[", "https://exa mple/", "https://é.example/",
     "https://" + "a" * 300 + ".example", f"https://{SENT_REFRESH}.example/", f"https://{SENT_REFRESH.upper()}/"],
)  # fmt: skip
def test_a_redirect_to_what_cannot_be_shown_names_no_host(location: str) -> None:
    """No host, none that is one, or one with something in it that we sent."""
    error = fail(REFRESH_GRANT, 302, raw=b"", headers={"Location": location})
    assert "redirect" not in str(error)
    assert SENT_REFRESH.casefold() not in printed(error).casefold()


@pytest.mark.parametrize(
    ("host", "instead"),
    [
        ("acme-hub.nexudus.site", "https://acme-hub.spaces.nexudus.com"),
        ("www.acme.nexudus.site", "https://NAME.spaces.nexudus.com"),
        ("portal.example.com", "https://spaces.nexudus.com or https://NAME.spaces.nexudus.com"),
        ("evilnexudus.site", "https://spaces.nexudus.com or https://NAME.spaces.nexudus.com"),
    ],
)
@pytest.mark.parametrize("status", [200, 405])
def test_a_portal_is_told_what_to_write_instead(host: str, instead: str, status: int) -> None:
    """`NAME.nexudus.site` answers 405, or its page with 200."""
    page = answer(status, raw=HTML, headers={"Content-Type": "text/html"})
    with pytest.raises(WrongHostError) as caught:
        parse_answer(SIGN_IN, page._replace(host=host), 3600.0)
    assert f"base_url must be {instead}," in str(caught.value)


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


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("raw", PROXY_BODIES)
def test_a_broken_service_is_unavailable(status: int, raw: bytes) -> None:
    """It says itself that it did nothing."""
    error = fail(REFRESH_GRANT, status, raw=raw, headers={"Content-Type": "text/html"})
    assert type(error) is EndpointUnavailableError
    assert (error.transient, error.refresh_token_spent, error.retry_after) == (True, False, None)
    assert fate_of(error) is Fate.BROKEN


@pytest.mark.parametrize("status", [408, 499, 501, 502, 504, 505, 511, *range(520, 528), 530, 561, 598, 599])
@pytest.mark.parametrize("raw", PROXY_BODIES)
def test_a_gateway_does_not_know_what_the_service_has_done(status: int, raw: bytes) -> None:
    """As a lost answer: a page with 502 is a proxy in trouble, not a wrong host."""
    error = fail(REFRESH_GRANT, status, raw=raw, headers={"Content-Type": "text/html"})
    assert type(error) is EndpointUnavailableError
    assert (error.transient, error.refresh_token_spent, error.retry_after) == (True, False, None)
    assert fate_of(error) is Fate.LOST
    assert str(error) == f"a gateway on the way to the token endpoint answered {status}"


def test_a_500_at_a_sign_in_may_mean_that_there_is_no_such_account() -> None:
    """That is what Nexudus answers then. At a refresh it is only a service in trouble."""
    assert "no account of that user name" in str(fail(SIGN_IN, 500, raw=b""))
    assert "account" not in str(fail(REFRESH_GRANT, 500, raw=b""))
    assert "account" not in str(fail(SIGN_IN, 503, raw=b""))


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
    error = fail(REFRESH_GRANT, status, {"error": "too_many_requests"}, headers={"Retry-After": "3"})
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
    error = fail(REFRESH_GRANT, status, raw=raw)
    assert type(error) is MalformedResponseError
    assert (error.status, error.transient, error.refresh_token_spent) == (status, True, False)
    assert fate_of(error) is (Fate.LOST if status == 200 else Fate.UNCLEAR)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 410, 422])
def test_a_refusal_without_a_reason_is_malformed(status: int) -> None:
    """A firewall's, say: not a word about the credentials."""
    error = fail(status=status, body={"Message": "no"})
    assert type(error) is MalformedResponseError
    assert str(status) in str(error)
