"""What is not a token: every answer of the service, of a proxy, of another host, by its own error."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from html import escape
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from nexudus_async import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    MalformedResponseError,
    PasswordResetRequiredError,
    TokenEndpointError,
    TotpRequiredError,
    WrongHostError,
)
from nexudus_async._secret import Secret
from nexudus_async._wire import Fate, GrantRequest, fate_of, sign_in

from .leaks import printed
from .wire import CLIENT, CODE, GOOD, GRANTS, PASSWORD, RENEWAL, RESET, SENT_AT, SENT_REFRESH, SIGN_IN, USER, parse

HTML = b"<!doctype html><title>Portal</title>"


def fail(request: GrantRequest = SIGN_IN, status: int = 400, body: object = None, **rest: Any) -> TokenEndpointError:
    with pytest.raises(TokenEndpointError) as caught:
        parse(request, status, body, **rest)
    return caught.value


@pytest.mark.parametrize("status", [200, 400, 401, 403, 500, 503])
@pytest.mark.parametrize(
    ("request_", "code", "kind"),
    [
        (SIGN_IN, "invalid_grant", CredentialsRejectedError),
        (RENEWAL, "invalid_grant", TokenEndpointError),
        (SIGN_IN, "two_factor_auth_check", TotpRequiredError),
        (RENEWAL, "two_factor_auth_check", TotpRequiredError),
        (SIGN_IN, "must_reset_password", PasswordResetRequiredError),
        (RENEWAL, "must_reset_password", PasswordResetRequiredError),
    ],
)
def test_the_error_decides_and_not_the_status(
    request_: GrantRequest, code: str, kind: type[TokenEndpointError], status: int
) -> None:
    """The documentation says 400, others have seen 401, and a 200 with an error is that error."""
    error = fail(request_, status, {"error": code})
    assert type(error) is kind
    assert (error.status, error.error) == (status, code)
    assert error.refresh_token_spent is (request_ is RENEWAL)
    assert fate_of(error) is Fate.REFUSED


@pytest.mark.parametrize("status", [200, 400, 401])
@pytest.mark.parametrize("request_", GRANTS.values(), ids=GRANTS)
@pytest.mark.parametrize("code", ["unsupported_grant_type", "invalid_client", "invalid_request"])
def test_other_codes_are_raised_as_they_are(request_: GrantRequest, code: str, status: int) -> None:
    """A programming error: not transient, and a refused renewal may have burnt its token."""
    error = fail(request_, status, {"error": code, "error_description": "shown to nobody"})
    assert type(error) is TokenEndpointError
    assert (error.error, error.description, error.transient) == (code, None, False)
    assert code in str(error)
    assert "shown" not in printed(error)
    assert error.refresh_token_spent is (request_ is RENEWAL)


@pytest.mark.parametrize("code", ["<b>", "a" * 41, "A B", "x\ny", 7, [], {"a": 1}, True, "pässword"])
def test_a_code_that_is_none_is_not_repeated(code: object) -> None:
    """It could be anything."""
    error = fail(status=400, body={"error": code})
    assert type(error) is TokenEndpointError
    assert error.error == "an unknown code"


@pytest.mark.parametrize("code", [None, ""])
def test_an_empty_error_is_none(code: object) -> None:
    """Some services always send the member."""
    assert parse(body=GOOD | {"error": code}).lifetime == 604_799


def test_a_refused_renewal_names_the_header_that_proxies_drop() -> None:
    """Without `client_id` every renewal fails as invalid_grant: the message says so."""
    assert "client_id header" in str(fail(RENEWAL, body={"error": "invalid_grant"}))


def test_the_reset_token_is_reachable_only_by_its_name() -> None:
    """The service sends it as the description."""
    error = fail(body={"error": "must_reset_password", "error_description": RESET})
    assert isinstance(error, PasswordResetRequiredError)
    assert error.reset_token == RESET
    assert error.description is None
    assert RESET not in printed(error)


@pytest.mark.parametrize("description", [None, "", 7, []])
def test_a_missing_reset_token_is_none(description: object) -> None:
    """And still the same error."""
    error = fail(body={"error": "must_reset_password", "error_description": description})
    assert isinstance(error, PasswordResetRequiredError)
    assert error.reset_token is None


def test_the_description_of_invalid_grant_is_for_a_person() -> None:
    """Wrong password, unknown, or suspended: the service's words say which. Those of other errors are not shown."""
    error = fail(body={"error": "invalid_grant", "error_description": "This account has been suspended."})
    assert error.description == "This account has been suspended."
    assert str(error) == "the sign-in was refused (invalid_grant: This account has been suspended.)"
    assert "words" not in printed(fail(body={"error": "two_factor_auth_check", "error_description": "words"}))


@pytest.mark.parametrize(
    ("description", "shown"),
    [
        ("one\r\ntwo\tthree  four", "one two three four"),
        (" \x1b[31mred\x07 ", "[31mred"),
        ("a\N{LINE SEPARATOR}b\N{NEXT LINE}c", "a b c"),
        ("evil\N{RIGHT-TO-LEFT OVERRIDE}txt", "evil txt"),
        ("\ud800x", "x"),
        ("x" * 5_000, "x" * 200),
        ("", None),
        ("\n", None),
        (7, None),
        (["a"], None),
        ({"a": "b"}, None),
    ],
)
def test_a_description_is_cut_to_a_line(description: object, shown: str | None) -> None:
    """So that it cannot forge a log line, nor fill a log."""
    error = fail(body={"error": "invalid_grant", "error_description": description})
    assert error.description == shown
    assert "\n" not in str(error)


ECHOES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "as in the form": lambda secret: quote_plus(secret),  # noqa: PLW0108 - overloaded
    "percent-encoded": lambda secret: quote(secret, safe=""),
    "percent-encoded in lower case": lambda secret: (
        quote_plus(secret).replace("%C3%A9", "%c3%a9").replace("%2F", "%2f")
    ),
    "as JSON": lambda secret: json.dumps(secret)[1:-1],
    "as JSON in Unicode": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "as HTML": escape,
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize(
    ("request_", "secret"),
    [(SIGN_IN, PASSWORD), (SIGN_IN, CODE), (RENEWAL, SENT_REFRESH)],
    ids=["password", "code", "token"],
)
def test_what_we_sent_is_masked(request_: GrantRequest, secret: str, echo: Callable[[str], str]) -> None:
    """In every way that a service may repeat it."""
    error = fail(request_, body={"error": "invalid_grant", "error_description": f"wrong: {echo(secret)}!"})
    assert error.description == "wrong: ***!"
    assert "***" in str(error)
    assert not any(made(secret) in printed(error) for made in ECHOES.values())


def test_a_secret_at_the_cut_is_not_shown_in_part() -> None:
    """It is masked before the line is cut."""
    error = fail(body={"error": "invalid_grant", "error_description": "x" * 195 + " " + PASSWORD})
    assert error.description == "x" * 195 + " ***"


def test_one_secret_within_another_is_masked() -> None:
    """The longer first."""
    request = sign_in(USER, Secret("horse-123456-battery"), Secret("123456"), CLIENT)
    error = fail(request, body={"error": "invalid_grant", "error_description": "horse-123456-battery, 123456"})
    assert error.description == "***, ***"


def test_a_password_that_looks_like_a_code_is_not_repeated() -> None:
    """Whatever a broken service puts where its code belongs."""
    request = sign_in(USER, Secret("correct_horse"), None, CLIENT)
    assert "correct_horse" not in printed(fail(request, body={"error": "correct_horse"}))


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
        ("-5", None),
        ("5.5", None),
        ("1e3", None),
        ("\N{ARABIC-INDIC DIGIT FIVE}", None),
        ("99999999999", None),
        ("Wed, 99 Foo 2026 99:99:99 GMT", None),
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
    assert fate_of(error) is (Fate.LOST if status == 200 else Fate.BROKEN)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 410, 422])
def test_a_refusal_without_a_reason_is_malformed(status: int) -> None:
    """A firewall's, say: not a word about the credentials."""
    error = fail(status=status, body={"Message": "no"})
    assert type(error) is MalformedResponseError
    assert str(status) in str(error)
