"""What goes wrong for a fleet, with real processes and a real Valkey: the benchmark's bad days, on a small scale.

All days are played at once, by one run of the benchmark: each test looks at one of them.
"""

import json
from typing import Any

import pytest

from .conftest import Playing

DEADLINE, LOCK_MARGIN, TIME_TO_RUN = 2.0, 5.0, 4.0
"""Seconds: of a flight on that scale, for another process's save, and for what a busy machine adds."""

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def days(playing: Playing) -> dict[str, Any]:
    """The figures of each day, by its name."""
    figures: dict[str, Any] = json.loads(playing.result(200))
    return figures


@pytest.mark.parametrize("day", ["the endpoint answers 500", "500 and no token"])
def test_a_fleet_backs_off_as_one_process(days: dict[str, Any], day: str) -> None:
    """Eight send hardly more than one, and the first of them has a token soon after the end."""
    eight, one = days[f"{day}, 8 processes"], days[f"{day}, 1 process"]
    assert eight["token requests"] <= 1.5 * one["token requests"] + 2
    for figures in (eight, one):
        assert figures["first token after, s"] <= 2 + TIME_TO_RUN


def test_tokens_of_a_second_and_an_endpoint_that_fails_half_of_the_time(days: dict[str, Any]) -> None:
    """The long run has the share; in eight seconds it is a matter of luck."""
    figures = days["every second refresh 500, 1 process without a store"]
    assert figures["requests"] > 100
    assert figures["served, %"] >= 40


def test_an_endpoint_that_hangs(days: dict[str, Any]) -> None:
    """Nobody waits for longer than a flight and a little, and the lock is not bypassed when it is over."""
    figures = days["the endpoint hangs, 20 processes"]
    assert figures["slowest request, s"] <= DEADLINE + LOCK_MARGIN + TIME_TO_RUN
    assert figures["of these by password"] <= 3
    assert figures["refresh tokens reused"] == 0


def test_a_record_of_a_later_release(days: dict[str, Any]) -> None:
    """It is left alone, and so is the chain: each process of today signs in once, apart."""
    figures = days["a later release beside 8 processes"]
    assert figures["refresh tokens reused"] == figures["refreshes of the later release refused"] == 0
    assert figures["its record kept"] == 1
    assert figures["sign-ins"] <= 16, "once each, and once more where a machine is too busy to save the refresh"


def test_a_process_with_the_wrong_key(days: dict[str, Any]) -> None:
    """It signs in for itself, once, and the others do not notice."""
    figures = days["the wrong key in 1 of 8 processes"]
    assert figures["sign-ins"] <= 4
    assert figures["refresh tokens reused"] == 0


def test_a_store_that_is_down_for_longer_than_the_tokens_live(days: dict[str, Any]) -> None:
    """Every process signs in, and not all at the same moment."""
    figures = days["the store is down, 20 processes"]
    assert 20 <= figures["sign-ins"] <= 24
    assert figures["refresh tokens reused"] == 0
    assert figures["within, s"] >= 0.1


@pytest.mark.parametrize(
    "day",
    [
        "FLUSHALL in mid-refresh, 8 processes",
        "eviction in mid-refresh, 8 processes",
        "fail-over in mid-refresh, its note lost",
        "fail-over in mid-refresh, a refresh lost",
    ],
)
def test_a_record_that_vanishes_in_the_middle_of_a_refresh(days: dict[str, Any], day: str) -> None:
    """No refresh token is sent twice."""
    figures = days[day]
    assert figures["tries"] >= 2
    assert figures["refresh tokens reused"] == 0
