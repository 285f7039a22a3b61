"""One-time codes: the algorithm against the RFC and pyotp, and what the emulator accepts."""

import base64

import hypothesis
import pytest
from hypothesis import strategies as st
from pyotp.totp import TOTP

from nexudus_async.testing import ManualClock, totp_code

from .conftest import Client

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # RFC 6238, appendix B: the text 12345678901234567890 in base32


@pytest.mark.parametrize(
    ("at", "code"),
    [(59, "287082"), (1_111_111_109, "081804"), (1_111_111_111, "050471"), (20_000_000_000, "353130")],
)
def test_the_vectors_of_rfc_6238(at: float, code: str) -> None:
    """The last six of the eight digits in appendix B."""
    assert totp_code(SECRET, at) == code


@hypothesis.given(st.binary(min_size=14, max_size=40), st.integers(0, 2**33))
def test_it_agrees_with_pyotp(key: bytes, at: int) -> None:
    """For every secret of 112 bits or more, padded or not; it takes no shorter ones."""
    secret = base64.b32encode(key).decode()
    expected = TOTP(secret).at(at)
    assert totp_code(secret, at) == totp_code(secret.rstrip("=").lower(), at) == expected


def test_a_secret_that_is_not_base32_is_refused() -> None:
    """By name, not by value."""
    with pytest.raises(ValueError, match="base32") as caught:
        totp_code("0189-not", 0)
    assert "0189" not in str(caught.value)


async def test_a_code_is_wanted_and_good_once(client: Client, clock: ManualClock) -> None:
    """Missing, wrong and used codes are refused; the next step's is accepted."""
    client.emulator.user.totp_secret = SECRET
    for fields in ({}, {"totp": ""}, {"totp": "12345é"}):
        answer = await client.sign_in(**fields)
        assert (answer.status, answer.json["error"]) == (400, "two_factor_auth_check")
    code = client.emulator.totp_code()
    assert (await client.sign_in(totp=code)).status == 200
    assert (await client.sign_in(totp=code)).json["error"] == "two_factor_auth_check"
    clock.advance(30)
    assert (await client.sign_in(totp=client.emulator.totp_code())).status == 200


@pytest.mark.parametrize(("age", "status"), [(-30, 400), (0, 200), (30, 200), (60, 400)])
async def test_a_code_is_accepted_during_its_step_and_the_next(client: Client, age: float, status: int) -> None:
    """Not before, and not later (RFC 6238, section 5.2)."""
    client.emulator.user.totp_secret = SECRET
    code = totp_code(SECRET, client.emulator.clock.wall() - age)
    assert (await client.sign_in(totp=code)).status == status


async def test_a_wrong_password_uses_no_code_up(client: Client) -> None:
    """The password is checked first, and decides the error."""
    client.emulator.user.totp_secret = SECRET
    code = client.emulator.totp_code()
    assert (await client.sign_in(password="wrong", totp=code)).json["error"] == "invalid_grant"
    assert (await client.sign_in(totp=code)).status == 200


async def test_a_user_without_two_factor_has_no_code(client: Client) -> None:
    """Asking for one is a mistake of the test."""
    with pytest.raises(LookupError, match="two-factor"):
        client.emulator.totp_code()
