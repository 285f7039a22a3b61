"""What is known of a refresh token that was sent without an answer."""

import pytest

from nexudus_async._oauth.replay_guard import Doubt
from nexudus_async._token import Secret
from nexudus_async.testing import ManualClock

TOKEN, OTHER = Secret("refresh"), Secret("another")


@pytest.fixture
def doubt(clock: ManualClock) -> Doubt:
    return Doubt(clock)


def test_the_first_replay_is_not_late_and_the_second_is(doubt: Doubt, clock: ManualClock) -> None:
    """Each sending counts, from the first on."""
    assert not doubt.late(TOKEN)
    doubt.sending(TOKEN)
    clock.advance(10)
    assert not doubt.late(TOKEN)
    doubt.sending(TOKEN)
    assert doubt.late(TOKEN)
    assert doubt.about(TOKEN)


def test_the_time_for_a_replay_ends(doubt: Doubt, clock: ManualClock) -> None:
    """Ten seconds after the first sending, whatever came in between."""
    doubt.sending(TOKEN)
    clock.advance(6)
    known = doubt.sending(TOKEN)
    clock.advance(6)
    doubt.restore(known)
    assert doubt.late(TOKEN)


def test_another_refresh_token_has_another_history(doubt: Doubt) -> None:
    """Nothing is known of one that was not sent."""
    doubt.sending(TOKEN)
    assert not doubt.about(OTHER)
    assert not doubt.late(OTHER)
    assert doubt.sending(OTHER) is None


def test_what_another_process_has_sent_is_not_replayed(doubt: Doubt) -> None:
    """Nobody knows how often it did."""
    doubt.recall(TOKEN)
    assert doubt.late(TOKEN)


def test_what_is_known_here_counts_for_more_than_what_another_process_tells(doubt: Doubt) -> None:
    """What it tells may be this process's own note."""
    doubt.sending(TOKEN)
    doubt.recall(TOKEN)
    assert not doubt.late(TOKEN)


def test_a_settled_doubt_is_forgotten(doubt: Doubt) -> None:
    """The answer came."""
    doubt.sending(TOKEN)
    doubt.restore(None)
    assert not doubt.about(TOKEN)
