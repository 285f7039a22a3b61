"""What is not a token: every answer of the service, of a proxy, of another host, by its own error."""

import json
from collections.abc import Callable
from html import escape
from urllib.parse import parse_qs, quote, quote_plus

import pytest

from nexudus_async import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    PasswordResetRequiredError,
    TokenEndpointError,
    TotpRequiredError,
)
from nexudus_async._oauth.failures import Fate, fate_of
from nexudus_async._oauth.messages import GrantRequest, sign_in
from nexudus_async._token import Secret
from tests.leaks import printed

from .grants import CLIENT, CODE, GOOD, GRANTS, PASSWORD, REFRESH_GRANT, RESET, SENT_REFRESH, SIGN_IN, USER, fail, parse


@pytest.mark.parametrize("status", [200, 400, 401, 403, 500, 503])
@pytest.mark.parametrize(
    ("request_", "code", "kind"),
    [
        (SIGN_IN, "invalid_grant", CredentialsRejectedError),
        (REFRESH_GRANT, "invalid_grant", TokenEndpointError),
        (SIGN_IN, "two_factor_auth_check", TotpRequiredError),
        (REFRESH_GRANT, "two_factor_auth_check", TotpRequiredError),
        (SIGN_IN, "must_reset_password", PasswordResetRequiredError),
        (REFRESH_GRANT, "must_reset_password", PasswordResetRequiredError),
    ],
)
def test_the_error_decides_and_not_the_status(
    request_: GrantRequest, code: str, kind: type[TokenEndpointError], status: int
) -> None:
    """The documentation says 400, others have seen 401, and a 200 with an error is that error."""
    error = fail(request_, status, {"error": code})
    assert type(error) is kind
    assert (error.status, error.error) == (status, code)
    assert error.refresh_token_spent is (request_ is REFRESH_GRANT)
    assert fate_of(error) is Fate.REFUSED


@pytest.mark.parametrize("status", [200, 400, 401, 409, 429, 500, 502, 503])
@pytest.mark.parametrize("request_", GRANTS.values(), ids=GRANTS)
@pytest.mark.parametrize("code", ["unsupported_grant_type", "invalid_request", "invalid_scope"])
def test_a_wrong_request_is_raised_as_it_is(request_: GrantRequest, code: str, status: int) -> None:
    """A programming error: not transient, and a refused refresh may have burnt its token."""
    error = fail(request_, status, {"error": code, "error_description": "shown to nobody"})
    assert type(error) is TokenEndpointError
    assert (error.error, error.description, error.transient) == (code, None, False)
    assert code in str(error)
    assert "shown" not in printed(error)
    assert error.refresh_token_spent is (request_ is REFRESH_GRANT)
    assert fate_of(error) is Fate.REFUSED


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize(
    "code", ["invalid_client", "unauthorized_client", "access_denied", "sso_required", "<b>", 7, {}]
)
def test_a_refused_sign_in_is_refused_whatever_its_code(code: object, status: int) -> None:
    """An account that may only sign in elsewhere, say: these credentials are not to be sent again and again."""
    error = fail(SIGN_IN, status, {"error": code, "error_description": "shown to nobody"})
    assert type(error) is CredentialsRejectedError
    assert "shown" not in printed(error)
    refused = fail(REFRESH_GRANT, status, {"error": code})
    assert type(refused) is TokenEndpointError
    assert refused.refresh_token_spent


@pytest.mark.parametrize("request_", GRANTS.values(), ids=GRANTS)
@pytest.mark.parametrize(
    ("status", "fate"), [(400, Fate.BROKEN), (500, Fate.BROKEN), (503, Fate.BROKEN), (502, Fate.LOST)]
)
@pytest.mark.parametrize("code", ["server_error", "temporarily_unavailable"])
def test_a_service_in_trouble_may_say_so_by_a_code(request_: GrantRequest, code: str, status: int, fate: Fate) -> None:
    """RFC 6749, 4.1.2.1: later it may work, and nothing is refused."""
    error = fail(request_, status, {"error": code})
    assert type(error) is EndpointUnavailableError
    assert (error.refresh_token_spent, fate_of(error)) == (False, fate)


@pytest.mark.parametrize("code", ["<b>", "a" * 41, "A B", "x\ny", 7, [], {"a": 1}, True, "pässword"])
@pytest.mark.parametrize(("status", "kind"), [(400, CredentialsRejectedError), (200, TokenEndpointError)])
def test_a_code_that_is_none_is_not_repeated(code: object, status: int, kind: type[TokenEndpointError]) -> None:
    """It could be anything."""
    error = fail(status=status, body={"error": code})
    assert type(error) is kind
    assert error.error == "an unknown code"
    assert str(code) not in str(error)


@pytest.mark.parametrize("code", [None, ""])
def test_an_empty_error_is_none(code: object) -> None:
    """Some services always send the member."""
    assert parse(body=GOOD | {"error": code}).lifetime == 604_799


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_client", "unauthorized_client"])
def test_a_refused_refresh_names_the_header_that_proxies_drop(code: str) -> None:
    """Without `client_id` every refresh fails: the message says so."""
    assert "client_id header" in str(fail(REFRESH_GRANT, body={"error": code}))
    assert "client_id header" not in str(fail(SIGN_IN, body={"error": code}))


@pytest.mark.parametrize(
    ("username", "password", "said"),
    [
        (USER, "secret\n", "the password ends with a newline"),
        (USER, "secret\r\n", "the password ends with a newline"),
        (USER, "secret  ", "the password ends with a blank"),
        (USER, "secret\N{NO-BREAK SPACE}", "the password ends with a blank"),
        (USER, "secret\N{ZERO WIDTH SPACE}", "the password ends with an invisible character"),
        (USER, "\N{ZERO WIDTH NO-BREAK SPACE}secret", "the password begins with an invisible character"),
        (USER, "\tsecret", "the password begins with a blank"),
        (USER, " secret\n", "the password begins with a blank; the password ends with a newline"),
        (USER, '"secret"', "the password is in quotes"),
        (USER, "'secret'\n", "the password ends with a newline; the password is in quotes"),
        (USER, " \n", "the password is blank"),
        (f"{USER}\n", "secret", "the user name ends with a newline"),
        (USER, "sec ret", None),
        (USER, '"secret', None),
        (USER, "'", None),
    ],
)
def test_a_refused_sign_in_says_what_is_odd_about_it(username: str, password: str, said: str | None) -> None:
    """As from a file with a newline at its end. It is sent as it is: it may be right."""
    request = sign_in(username, Secret(password), None, CLIENT)
    fields = parse_qs(request.form.decode("ascii"), keep_blank_values=True)
    assert (fields["username"], fields["password"]) == ([username], [password])
    refused = fail(request, body={"error": "invalid_grant"})
    expected = f"; {said}, and was sent so" if said else ""
    assert str(refused) == f"the sign-in was refused (invalid_grant){expected}"
    assert "secret" not in printed(refused)
    assert "odd" not in str(fail(request, 500, {}))


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
    [(SIGN_IN, PASSWORD), (SIGN_IN, CODE), (REFRESH_GRANT, SENT_REFRESH)],
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
