"""What is wrong with what a source gave."""

import dataclasses
import math
from datetime import UTC, datetime

import pytest

from nexudus_async import Token
from nexudus_async._refresh.outcomes import problem_of

TEN_YEARS = 10 * 366 * 86_400.0
TOKEN = Token("a", "r", "bearer", "c", 100.0, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("lifetime", "fine"),
    [
        (math.nextafter(0, 1), True),
        (TEN_YEARS, True),
        (0.0, False),
        (-1.0, False),
        (math.nextafter(TEN_YEARS, math.inf), False),
        (math.inf, False),
        (math.nan, False),
    ],
)
def test_a_token_lives_for_ten_years_at_most(lifetime: float, fine: bool) -> None:
    """And for some time at least: the rest is an error of the source, and would be refreshed for ever, or never."""
    assert (problem_of(dataclasses.replace(TOKEN, lifetime=lifetime)) is None) is fine


@pytest.mark.parametrize("secret", ["a\r\nX-Injected: 1", "é", "a b", ""])
def test_a_token_that_no_header_can_carry_is_not_shown(secret: str) -> None:
    """The message says what is wrong, and nothing of the token."""
    problem = problem_of(dataclasses.replace(TOKEN, access_token=secret))
    assert problem == "it has characters that no header can carry"


@pytest.mark.parametrize("given", [None, "a-secret", {"access_token": "a-secret"}])
def test_what_is_no_token_is_named_by_its_type(given: object) -> None:
    """Whoever wrote the source sees the mistake, and no log a secret."""
    assert problem_of(given) == f"it gave {type(given).__name__}, not a Token"
