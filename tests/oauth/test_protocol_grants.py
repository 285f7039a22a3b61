"""What is sent for a grant, and the token that a good answer is."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexudus_async import ConfigurationError, MalformedResponseError
from nexudus_async._oauth.messages import GrantRequest, refresh, sign_in
from nexudus_async._oauth.protocol import parse_answer
from nexudus_async._token import Secret

from .grants import (
    ACCESS,
    CLIENT,
    CODE,
    GOOD,
    GRANTS,
    PASSWORD,
    REFRESH,
    REFRESH_GRANT,
    SENT_AT,
    SENT_REFRESH,
    SIGN_IN,
    USER,
    answer,
    parse,
)


def form_of(request: GrantRequest) -> dict[str, str]:
    fields = parse_qs(request.form.decode("ascii"), strict_parsing=True, keep_blank_values=True)
    return {name: value for name, (value,) in fields.items()}


def test_a_sign_in_is_a_form() -> None:
    """RFC 6749, section 4.3.2, with every character that a careless encoding breaks."""
    assert form_of(SIGN_IN) == {"grant_type": "password", "username": USER, "password": PASSWORD, "totp": CODE}


def test_without_two_factor_no_code_is_sent() -> None:
    """Not even an empty one."""
    assert set(form_of(sign_in(USER, Secret(PASSWORD), None, CLIENT))) == {"grant_type", "username", "password"}


def test_a_refresh_is_a_form() -> None:
    """RFC 6749, section 6."""
    assert form_of(REFRESH_GRANT) == {"grant_type": "refresh_token", "refresh_token": SENT_REFRESH}


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(TEXT, TEXT, TEXT)
def test_any_text_survives_the_form(username: str, password: str, code: str) -> None:
    """Whatever characters it has."""
    request = sign_in(username, Secret(password), Secret(code), CLIENT)
    assert form_of(request) == {"grant_type": "password", "username": username, "password": password, "totp": code}


@pytest.mark.parametrize("values", [("\ud800", "p", "c"), (USER, "p\ud800", "c"), (USER, "p", "\udfff")])
def test_half_a_character_is_refused(values: tuple[str, str, str]) -> None:
    """UTF-8 cannot encode it; the message says so without repeating it."""
    username, password, code = values
    with pytest.raises(ConfigurationError, match="text that UTF-8 can encode"):
        sign_in(username, Secret(password), Secret(code), CLIENT)


@pytest.mark.parametrize("request_", GRANTS.values(), ids=GRANTS)
def test_the_client_id_is_a_header_of_both_grants(request_: GrantRequest) -> None:
    """A header with an underscore, never a form field; the body is not JSON, the answer should be."""
    assert dict(request_.headers) == {
        "client_id": CLIENT,
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
    }
    assert "client_id" not in form_of(request_)


@pytest.mark.parametrize("request_", GRANTS.values(), ids=GRANTS)
def test_a_request_shows_no_secret(request_: GrantRequest) -> None:
    """Nor does an answer."""
    text = repr(request_) + repr(answer())
    assert not any(secret in text for secret in (PASSWORD, CODE, SENT_REFRESH, ACCESS, REFRESH, "%26"))


@pytest.mark.parametrize("request_", GRANTS.values(), ids=GRANTS)
def test_a_good_answer_is_a_token(request_: GrantRequest) -> None:
    """With the client_id it was issued to; its life counts from the sending of the request."""
    token = parse(request_)
    assert (token.access_token, token.refresh_token) == (ACCESS, REFRESH)
    assert (token.token_type, token.client_id, token.lifetime) == ("bearer", CLIENT, 604_799.0)
    assert token.expires_at == datetime.fromtimestamp(SENT_AT + 604_799, UTC)
    assert token.authorization == f"Bearer {ACCESS}"


@pytest.mark.parametrize("status", [200, 201, 299])
def test_any_success_will_do(status: int) -> None:
    """The service says 200; a proxy may not."""
    assert parse(status=status).access_token == ACCESS


@pytest.mark.parametrize("omitted", [{}, {"refresh_token": None}, {"refresh_token": ""}])
def test_an_omitted_refresh_token_keeps_the_old(omitted: dict[str, Any]) -> None:
    """RFC 6749, section 6. A sign-in has no old one."""
    body = {name: value for name, value in GOOD.items() if name != "refresh_token"} | omitted
    assert parse(REFRESH_GRANT, body=body).refresh_token == SENT_REFRESH
    assert parse(SIGN_IN, body=body).refresh_token is None


@pytest.mark.parametrize(
    ("value", "lifetime"),
    [
        (604_799, 604_799.0),
        (604_799.0, 604_799.0),
        ("604799", 604_799.0),
        ("604799.0", 604_799.0),
        (1_209_599, 1_209_599.0),
        (1, 1.0),
        (0.5, 0.5),
        (None, 3600.0),
        (10 * 366 * 86_400, 10 * 366 * 86_400.0),
    ],
)
def test_every_form_of_a_lifetime(value: object, lifetime: float) -> None:
    """A number, a number in quotes, none at all."""
    assert parse(body=GOOD | {"expires_in": value}).lifetime == lifetime


def test_a_missing_lifetime_is_the_default() -> None:
    """RFC 6749, section 5.1: `expires_in` is recommended, not required."""
    body = {name: value for name, value in GOOD.items() if name != "expires_in"}
    assert parse_answer(SIGN_IN, answer(body=body), 77.0).lifetime == 77.0


@pytest.mark.parametrize(
    "value",
    [
        0, -1, 0.0, -0.5, "0", "-1", True, False, "", " ", "soon", "6e5", "604799 s", "0x10", "1_000", [], [1], {},
        float("nan"), float("inf"), float("-inf"), "NaN", "Infinity", 10 * 366 * 86_400 + 1, 1e18, -1e18, "9" * 15,
        "9" * 5_000, 10**308, 10**400, -(10**400), "\N{ARABIC-INDIC DIGIT THREE}",
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_no_other_lifetime_is_believed(value: object) -> None:
    """Zero, negative, huge or garbage: no token, and a message about the field that repeats no value."""
    with pytest.raises(MalformedResponseError, match="expires_in") as caught:
        parse(body=GOOD | {"expires_in": value})
    assert caught.value.status == 200


@pytest.mark.parametrize("kind", ["bearer", "Bearer", "BEARER", None])
def test_bearer_is_written_in_any_case(kind: str | None) -> None:
    """RFC 6749, section 5.1. The header says Bearer."""
    assert parse(body=GOOD | {"token_type": kind}).authorization.startswith("Bearer ")


@pytest.mark.parametrize("kind", ["mac", "", "bearer ", "Bearer x", 1, ["bearer"], {}])
def test_another_token_type_is_refused(kind: object) -> None:
    """A client must not use a type it does not understand (RFC 6749, section 7.1)."""
    with pytest.raises(MalformedResponseError, match="token_type"):
        parse(body=GOOD | {"token_type": kind})


@pytest.mark.parametrize("field", ["access_token", "refresh_token"])
@pytest.mark.parametrize(
    "value",
    ["a\r\nX-Evil: 1", "a\n", "\na", "a b", "a\tb", "é", "a\x00", "a\x7f", "\N{ZERO WIDTH SPACE}a", 7, [], {}, True],
)
def test_a_token_with_characters_that_no_header_takes_is_malformed(field: str, value: object) -> None:
    """CR and LF would be another header."""
    with pytest.raises(MalformedResponseError, match=f"{field} has characters") as caught:
        parse(body=GOOD | {field: value})
    assert "Evil" not in str(caught.value)


@pytest.mark.parametrize("missing", [{}, {"access_token": None}, {"access_token": ""}])
def test_no_access_token_is_malformed(missing: dict[str, Any]) -> None:
    """Missing, null or empty."""
    body = {name: value for name, value in GOOD.items() if name != "access_token"} | missing
    with pytest.raises(MalformedResponseError, match="access_token is missing"):
        parse(body=body)


def test_a_refresh_token_may_be_any_text_that_was_once_one() -> None:
    """A stored one is sent as it is."""
    assert form_of(refresh("a+b &=%é", CLIENT))["refresh_token"] == "a+b &=%é"
