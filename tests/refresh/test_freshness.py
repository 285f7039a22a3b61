"""The numbers and the rules about time, one unit either side of every boundary."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexudus_async import Freshness, RefreshPolicy, Token
from nexudus_async._refresh.policy import Held, Schedule, age_of, empty_delay, latch_delay, schedule, served_delay

STEADY = RefreshPolicy(jitter=0)
MINUTE = 60.0
WEEK = 604_799.0


def before(moment: float) -> float:
    return math.nextafter(moment, -math.inf)


@pytest.mark.parametrize(
    ("elapsed", "state"),
    [
        (-1.0, Freshness.FRESH),
        (0.0, Freshness.FRESH),
        (before(10.0), Freshness.FRESH),
        (10.0, Freshness.ADVISORY),
        (before(20.0), Freshness.ADVISORY),
        (20.0, Freshness.MANDATORY),
        (before(30.0), Freshness.MANDATORY),
        (30.0, Freshness.EXPIRED),
        (1e9, Freshness.EXPIRED),
    ],
)
def test_each_boundary_belongs_to_the_later_state(elapsed: float, state: Freshness) -> None:
    """FRESH < refresh_after <= ADVISORY < hard_after <= MANDATORY < lifetime <= EXPIRED."""
    assert Schedule(10.0, 20.0, 30.0).freshness(elapsed) is state


@pytest.mark.parametrize(
    ("lifetime", "window"),
    [
        (2.0, 1.0),
        (599.0, 299.5),
        (600.0, 5 * MINUTE),
        (20 * MINUTE, 5 * MINUTE),
        (20 * MINUTE + 1, 10 * MINUTE + 0.5),
        (30 * MINUTE, 15 * MINUTE),
        (90 * MINUTE - 1, 15 * MINUTE),
        (90 * MINUTE, 45 * MINUTE),
        (120 * MINUTE, 60 * MINUTE),
        (WEEK, 60 * MINUTE),
    ],
)
def test_the_window_goes_by_tiers_and_is_at_most_half(lifetime: float, window: float) -> None:
    """5 minutes up to 20, 15 below 90, else 60; never more than half of the lifetime."""
    assert lifetime - schedule(STEADY, lifetime, 0.0).refresh_after == pytest.approx(window)


@pytest.mark.parametrize(
    ("given", "window"), [(0.0, 0.0), (100.0, 100.0), (600.0, 600.0), (899.0, 899.0), (900.0, 900.0), (901.0, 900.0)]
)
def test_an_explicit_window_replaces_tier_and_half(given: float, window: float) -> None:
    """It is only kept below the lifetime: a token that is refreshed as it arrives would be a loop."""
    plan = schedule(RefreshPolicy(advisory_window=given, jitter=0), 1000.0, 0.0)
    assert 1000.0 - plan.refresh_after == pytest.approx(window)


@pytest.mark.parametrize(
    ("lifetime", "margin"), [(1.0, 0.1), (10.0, 1.0), (599.0, 59.9), (600.0, 60.0), (601.0, 60.0), (WEEK, 60.0)]
)
def test_the_hard_margin_is_a_minute_or_a_tenth(lifetime: float, margin: float) -> None:
    """Whichever is less."""
    assert lifetime - schedule(STEADY, lifetime, 0.0).hard_after == pytest.approx(margin)


@pytest.mark.parametrize(("lifetime", "margin"), [(10_000.0, 400.0), (1201.0, 400.0), (1200.0, 150.0), (80.0, 20.0)])
def test_a_given_margin_leaves_room_for_the_window(lifetime: float, margin: float) -> None:
    """Where the window of a short token is not longer than the margin, half of the window stays advisory."""
    plan = schedule(RefreshPolicy(hard_margin=400.0, jitter=0), lifetime, 0.0)
    assert lifetime - plan.hard_after == pytest.approx(margin)


@pytest.mark.parametrize(("margin", "kept"), [(299.0, 299.0), (300.0, 150.0), (301.0, 150.0)])
def test_a_given_margin_is_less_than_the_window(margin: float, kept: float) -> None:
    """Or callers would wait for every refresh of such tokens: none would be advisory."""
    plan = schedule(RefreshPolicy(hard_margin=margin, jitter=0), 1200.0, 0.0)
    assert plan.refresh_after == 900.0
    assert 1200.0 - plan.hard_after == kept


@pytest.mark.parametrize(("chance", "delay"), [(0.0, 0.0), (0.5, 450.0), (1.0, 900.0)])
def test_jitter_delays_by_a_quarter_of_the_window_at_most(chance: float, delay: float) -> None:
    """U(0, 25 %) of the window, for the moment of refresh only."""
    plan = schedule(RefreshPolicy(), WEEK, chance)
    assert plan.refresh_after == pytest.approx(WEEK - 3600.0 + delay)
    assert plan.hard_after == WEEK - 60.0


@pytest.mark.parametrize(("jitter", "chance"), [(1.0, 1.0), (1.0, 0.99), (0.98, 1.0)])
def test_jitter_never_goes_past_the_hard_margin(jitter: float, chance: float) -> None:
    """Whatever the share."""
    plan = schedule(RefreshPolicy(jitter=jitter, advisory_window=100.0, hard_margin=50.0), 1000.0, chance)
    assert plan.refresh_after == plan.hard_after == 950.0


@pytest.mark.parametrize(("failures", "delay"), [(1, 30.0), (2, 60.0), (3, 120.0), (4, 300.0), (5, 300.0), (99, 300.0)])
def test_back_off_while_a_token_is_served(failures: int, delay: float) -> None:
    """30, 60, 120, 300 s, lengthened by a quarter at most."""
    assert served_delay(failures, None, 0.0) == delay
    assert served_delay(failures, None, 1.0) == delay * 1.25


@pytest.mark.parametrize(("failures", "delay"), [(1, 0.5), (2, 1), (3, 2), (22, 2), (23, 5), (99, 5)])
def test_back_off_with_nothing_to_serve(failures: int, delay: float) -> None:
    """0.5 s growing to 2, and to 5 after half a minute; shortened by a quarter at most."""
    assert empty_delay(failures, None, 0.0) == delay
    assert empty_delay(failures, None, 1.0) == delay * 0.75


@pytest.mark.parametrize(("rejections", "delay"), [(1, 60.0), (2, 300.0), (3, 3600.0), (99, 3600.0)])
def test_refused_credentials_rest(rejections: int, delay: float) -> None:
    """60 s, 300, then an hour each time."""
    assert latch_delay(rejections) == delay


@pytest.mark.parametrize(
    ("retry_after", "delay"),
    [(0.0, 30.0), (29.0, 30.0), (31.0, 31.0), (3600.0, 3600.0), (3601.0, 3600.0), (1e9, 3600.0)],
)
def test_back_off_is_never_less_than_retry_after(retry_after: float, delay: float) -> None:
    """But an hour at most."""
    assert served_delay(1, retry_after, 0.0) == delay
    assert empty_delay(23, retry_after, 0.0) == max(5.0, min(retry_after, 3600.0))


def a_token(lifetime: float = 100.0, expires_at: float = 1100.0) -> Token:
    return Token("a", "r", "bearer", "c", lifetime, datetime.fromtimestamp(expires_at, UTC))


@pytest.mark.parametrize(
    ("monotonic", "wall", "elapsed"),
    [
        pytest.param(50.0, 1050.0, 50.0, id="both go"),
        pytest.param(0.0, 1050.0, 50.0, id="monotonic stood still while suspended"),
        pytest.param(50.0, 950.0, 50.0, id="wall clock set back"),
        pytest.param(50.0, 4600.0, 3600.0, id="wall clock set forward"),
    ],
)
def test_elapsed_is_the_larger_of_both_clocks(monotonic: float, wall: float, elapsed: float) -> None:
    """A clock may stand still or be set: the token is as old as the one that shows more."""
    held = Held(a_token(), Schedule(50.0, 90.0, 100.0), sent_monotonic=0.0, sent_wall=1000.0)
    assert held.elapsed(monotonic, wall) == elapsed
    assert held.freshness(monotonic, wall) is Schedule(50.0, 90.0, 100.0).freshness(elapsed)


@pytest.mark.parametrize(
    ("wall", "wall_elapsed", "age"),
    [
        pytest.param(1000.0, 5.0, 0.0, id="sent just now"),
        pytest.param(1003.25, 5.0, 3.25, id="sent a while ago"),
        pytest.param(1005.0, 5.0, 5.0, id="sent at once"),
        pytest.param(1005.5, 5.5, 5.5, id="set forward, or suspended"),
        pytest.param(999.0, -1.0, 5.0, id="set back"),
        pytest.param(999.0, 2.0, 2.0, id="set back while the answer was on its way"),
        pytest.param(1001.0, 2.0, 4.0, id="set back before the request was sent"),
        pytest.param(-9e9, -9e9 - 1000, 5.0, id="set back by centuries"),
        pytest.param(990.0, 5.0, 5.0, id="a token from the future"),
    ],
)
def test_the_age_of_an_answer_is_the_longest_possible_when_the_clock_was_set(
    wall: float, wall_elapsed: float, age: float
) -> None:
    """Lifetime counts from the sending of the request; the source was asked 5 s ago by the monotonic clock."""
    assert age_of(a_token(), wall, 5.0, wall_elapsed) == age


def test_the_age_does_not_suffer_from_rounding() -> None:
    """A datetime has microseconds, a float at this size less: neither makes an answer older than its question."""
    wall = 1_767_225_600.123_456_7
    assert age_of(a_token(604_799.0, wall + 604_799.0), wall, 0.0, 0.0) == 0.0


SECONDS = st.floats(0.001, 1e7)
SHARES = st.floats(0, 1)


@st.composite
def policies(draw: st.DrawFn) -> RefreshPolicy:
    """Return any policy that its own rules accept."""
    window, margin = draw(st.none() | st.floats(0, 1e7)), draw(st.none() | st.floats(0, 1e7))
    if window is not None and margin is not None and margin >= window:
        margin = None
    return RefreshPolicy(advisory_window=window, hard_margin=margin, jitter=draw(SHARES))


@given(policies(), SECONDS, SHARES)
def test_every_schedule_is_in_order(policy: RefreshPolicy, lifetime: float, chance: float) -> None:
    """0 < refresh_after <= hard_after <= lifetime: none is refreshed as it arrives, or served beyond its end."""
    plan = schedule(policy, lifetime, chance)
    assert 0 < plan.refresh_after <= plan.hard_after <= plan.lifetime == lifetime
    assert plan.freshness(0.0) is Freshness.FRESH
    assert plan.freshness(lifetime) is Freshness.EXPIRED


@given(SECONDS, SHARES)
def test_the_default_policy_gives_every_token_all_its_states(lifetime: float, chance: float) -> None:
    """There is time to refresh in the background, and some to wait in, however short the token."""
    plan = schedule(RefreshPolicy(), lifetime, chance)
    assert lifetime / 2 <= plan.refresh_after < plan.hard_after < lifetime


@given(policies(), SECONDS, SHARES, st.lists(st.floats(0, 2e7), min_size=2))
def test_a_token_only_ages(policy: RefreshPolicy, lifetime: float, chance: float, moments: list[float]) -> None:
    """No later moment has a fresher state."""
    order = [Freshness.FRESH, Freshness.ADVISORY, Freshness.MANDATORY, Freshness.EXPIRED]
    plan = schedule(policy, lifetime, chance)
    states = [order.index(plan.freshness(moment)) for moment in sorted(moments)]
    assert states == sorted(states)


@given(st.integers(1, 50), st.none() | st.floats(0, 1e10), SHARES)
def test_back_off_is_bounded_on_both_sides(failures: int, retry_after: float | None, chance: float) -> None:
    """No endless loop, and no endless pause."""
    asked = min(retry_after or 0.0, 3600.0)
    for delay in (served_delay(failures, retry_after, chance), empty_delay(failures, retry_after, chance)):
        assert max(0.375, asked) <= delay <= 3600.0
        assert delay <= max(375.0, asked)


@given(st.floats(1, 1e6), st.floats(-1e9, 1e9), st.floats(0, 1e6), st.floats(0, 1), st.floats(-1e6, 1e6))
def test_an_age_is_never_negative_nor_more_than_possible(
    lifetime: float, wall: float, elapsed: float, share: float, wall_elapsed: float
) -> None:
    """Whatever the wall clock says, of a token that was sent after the question."""
    expires_at = wall - wall_elapsed * share + lifetime
    age = age_of(a_token(lifetime, expires_at), wall, elapsed, wall_elapsed)
    assert 0 <= age <= max(elapsed, wall_elapsed) + 0.001


def test_a_token_that_has_lain_somewhere_is_as_old_as_it_says() -> None:
    """A source of one's own may hand out one with 5 s left of its hour."""
    assert age_of(a_token(3600.0, 1105.0), 1100.0, 0.0, 0.0) == 3595.0
