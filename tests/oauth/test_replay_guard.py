"""What is known of a refresh token that was sent without an answer."""

import pytest

from nexudus_async._oauth.replay_guard import ReplayGuard
from nexudus_async._token import Secret
from nexudus_async.testing import ManualClock

TOKEN, OTHER = Secret("refresh"), Secret("another")


@pytest.fixture
def guard(clock: ManualClock) -> ReplayGuard:
    return ReplayGuard(clock)


def test_the_first_replay_is_not_late_and_the_second_is(guard: ReplayGuard, clock: ManualClock) -> None:
    """Each sending counts, from the first on."""
    assert not guard.forbids(TOKEN)
    guard.sending(TOKEN)
    clock.advance(10)
    assert not guard.forbids(TOKEN)
    guard.sending(TOKEN)
    assert guard.forbids(TOKEN)
    assert guard.may_have_been_used(TOKEN)


def test_the_time_for_a_replay_ends(guard: ReplayGuard, clock: ManualClock) -> None:
    """Ten seconds after the first sending, whatever came in between."""
    guard.sending(TOKEN)
    clock.advance(6)
    known = guard.sending(TOKEN)
    clock.advance(6)
    guard.restore(known)
    assert guard.forbids(TOKEN)


def test_another_refresh_token_has_another_history(guard: ReplayGuard) -> None:
    """Nothing is known of one that was not sent."""
    guard.sending(TOKEN)
    assert not guard.may_have_been_used(OTHER)
    assert not guard.forbids(OTHER)
    assert guard.sending(OTHER) is None


def test_what_another_process_has_sent_is_not_replayed(guard: ReplayGuard) -> None:
    """Nobody knows how often it did."""
    guard.others_have_sent(TOKEN)
    assert guard.forbids(TOKEN)


def test_what_is_known_here_counts_for_more_than_what_another_process_tells(guard: ReplayGuard) -> None:
    """What it tells may be this process's own note."""
    guard.sending(TOKEN)
    guard.others_have_sent(TOKEN)
    assert not guard.forbids(TOKEN)


def test_what_was_answered_is_forgotten(guard: ReplayGuard) -> None:
    """The answer came."""
    guard.sending(TOKEN)
    guard.restore(None)
    assert not guard.may_have_been_used(TOKEN)
