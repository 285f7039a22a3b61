"""What each event does to the token held, by the rules at the head of `state.py`. Nothing here waits."""

import asyncio
import math
from datetime import UTC, datetime

import pytest

from nexudus_async import (
    ConfigurationError,
    CredentialsRejectedError,
    EndpointUnavailableError,
    Freshness,
    RefreshPolicy,
    SessionClosedError,
    Token,
)
from nexudus_async._events import Grant
from nexudus_async._refresh.outcomes import Granted, Obtained, Shared
from nexudus_async._refresh.state import TokenState
from nexudus_async.testing import ManualClock

LIFETIME = 100.0
OUTAGE = EndpointUnavailableError("down")
REFUSAL = CredentialsRejectedError("no")


class Known:
    """A state on a manual clock, and short words for what happens to it.

    Tokens live for 100 s. They are to be refreshed after 50, and from 90 callers wait for that.
    """

    def __init__(self, chance: float = 0.0) -> None:
        self.clock = ManualClock()
        self.state = TokenState(RefreshPolicy(jitter=0), self.clock, lambda: chance)

    def token(
        self,
        access: str,
        generation: int = 0,
        *,
        age: float = 0.0,
        refresh: str | None = "r",
        client_id: str | None = "c",
    ) -> Token:
        """Return one whose request was sent `age` seconds ago."""
        end = datetime.fromtimestamp(self.clock.wall() - age + LIFETIME, UTC)
        return Token(access, refresh, "bearer", client_id, LIFETIME, end, generation)

    def obtain(
        self, token: Token, *, grant: Grant | None = "password", took: float = 0.0, new: bool = False
    ) -> Granted:
        """Hold what the source has given, which was asked `took` seconds ago. new: as `asked_for_new`."""
        asked = Obtained(token, grant, self.clock.monotonic() - took, self.clock.wall() - took)
        return self.state.granted(asked, asked_for_new=new)

    def hold(self, access: str) -> Token:
        """Hold a good token; return it with its generation."""
        return self.obtain(self.token(access)).token

    def find(self, token: Token | None, generation: int, left: float = LIFETIME, *, new: bool = False) -> bool:
        """Find a record in the store. new: as `asked_for_new`."""
        return self.state.adopted(Shared(token, generation, left, logged_out=False), asked_for_new=new)

    def find_logout(self, generation: int, *, ends: str | None = None) -> None:
        """Find a tombstone in the store. ends: the chain it has ended, where that is news."""
        self.state.adopted(Shared(None, generation, 0.0, logged_out=True, ends=ends), asked_for_new=False)

    def refuse(self, token: Token) -> None:
        """The API refuses it, and there is no successor."""
        self.state.rejected(token)
        self.state.failed(OUTAGE, counted=False)


@pytest.fixture
def known() -> Known:
    return Known()


def test_of_a_new_session_there_is_nothing_to_tell(known: Known) -> None:
    """No token, no generation, and every count at zero."""
    state = known.state
    assert (state.freshness, state.token, state.remaining) == (Freshness.EMPTY, None, None)
    assert (state.generation, state.adoptions, state.failures, state.rejections) == (0, 0, 0, 0)
    assert state.obtained == {"password": 0, "refresh_token": 0, "exchange": 0}
    assert not state.quiet


def test_every_token_and_every_refusal_is_counted(known: Known) -> None:
    """A token by its grant; one that was handed over counts as adopted, as one of the store does."""
    grants: tuple[Grant | None, ...] = ("password", "exchange", "refresh_token", "refresh_token", None, None)
    for grant in grants:
        known.obtain(known.token("a"), grant=grant)
    for generation in (7, 8):
        assert known.find(known.token(f"of others {generation}", generation), generation)
    state = known.state
    assert state.obtained == {"password": 1, "exchange": 1, "refresh_token": 2}
    assert state.adoptions == 4
    for _ in range(3):
        state.rejected(known.token("a"))
    assert state.rejections == 3


@pytest.mark.parametrize("grant", ["password", "exchange", "refresh_token", None])
@pytest.mark.parametrize("new", [False, True])
def test_whoever_asks_for_a_new_token_is_not_served_one_that_was_handed_over(
    known: Known, grant: Grant | None, new: bool
) -> None:
    """It is held, and refreshed at once."""
    granted = known.obtain(known.token("a"), grant=grant, new=new)
    assert granted.good is not (new and grant is None)
    assert known.state.token is granted.token


def test_whoever_asks_for_a_new_token_is_served_what_others_have_refreshed(known: Known) -> None:
    """But not the first that a session without any finds: that is the one to be refreshed."""
    assert not known.find(known.token("a", 1), 1, new=True)
    assert known.state.token is not None
    assert known.find(known.token("b", 2), 2, new=True)


def test_the_moments_of_a_token_come_nearer(known: Known) -> None:
    """Due at 50 s, awaited from 90, and expired at 100; without a token there is nothing to wait for."""
    state = known.state
    assert (state.age, state.due_in, state.hard_in, state.without_store_in) == (None, None, 0.0, 0.0)
    known.hold("a")
    known.clock.advance(60)
    assert (state.age, state.due_in, state.hard_in, state.without_store_in) == (60.0, -10.0, 30.0, 30.0)
    known.clock.advance(60)
    assert (state.age, state.due_in, state.hard_in, state.remaining) == (120.0, -70.0, -30.0, 0.0)


def test_what_is_served_is_the_token_held(known: Known) -> None:
    """Also once its refresh token was refused, or another token has come: up to the moment when it is due."""
    for access in ("a", "b"):
        known.hold(access)
        assert known.state.fresh is known.state.token
    known.state.refresh_token_refused()
    assert known.state.fresh is known.state.token
    assert known.state.fresh.refresh_token is None
    known.clock.advance(49.5)
    assert known.state.is_fresh
    known.clock.advance(0.5)
    assert not known.state.is_fresh


# The age of a token


def test_a_wall_clock_set_back_while_the_source_answers_makes_no_token_older(known: Known) -> None:
    """Two seconds have passed by the other clock, so the token is two seconds old at most."""
    token, asked, asked_wall = known.token("a"), known.clock.monotonic(), known.clock.wall()
    known.clock.advance(2)
    known.clock.step_wall(-100)
    assert known.state.granted(Obtained(token, "password", asked, asked_wall), asked_for_new=False).good
    assert known.state.remaining == LIFETIME - 2


@pytest.mark.parametrize("odd", ["the machine was suspended", "the wall clock was set back"])
def test_a_token_of_the_store_ages_by_both_clocks(known: Known, odd: str) -> None:
    """It has 60 s left when it is found, and 40 when another 20 have passed, whichever clock shows them."""
    known.find(known.token("a", 1, age=40), 1, left=60)
    if "suspended" in odd:
        known.clock.suspend(20)
    else:
        known.clock.advance(20)
        known.clock.step_wall(-1000)
    assert known.state.remaining == 40
    assert not known.state.is_fresh


def test_while_the_store_is_down_each_process_replaces_the_token_at_a_moment_of_its_own() -> None:
    """They all reach the hard margin at once, and would sign in together: the chance of each spreads them over it."""
    fleet = [Known(chance) for chance in (0.0, 0.5, 1.0)]
    for process in fleet:
        process.hold("a")
    assert [process.state.without_store_in for process in fleet] == [90, 95, 100]


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 10), (0.5, 15), (1.0, 20)])
def test_a_token_is_left_alone_for_half_of_the_time_at_least(chance: float, seconds: float) -> None:
    """And for all of it at most: so the processes of a fleet do not come back together."""
    known = Known(chance)
    known.state.left_alone(20)
    known.clock.advance(seconds - 0.5)
    assert known.state.quiet
    known.clock.advance(0.5)
    assert not known.state.quiet


# Rules 1 and 2: generations and logouts


@pytest.mark.parametrize(("shared", "ended"), [(True, 4), (False, 3)])
def test_a_logout_counts_on(known: Known, shared: bool, ended: int) -> None:
    """Where a store has the token too, the tombstone has a generation of its own. The next token is above either."""
    for access in ("a", "b", "c"):
        known.hold(access)
    known.state.logged_out(shared=shared)
    assert known.state.generation == ended
    assert known.hold("d").generation == ended + 1


def test_each_logout_begins_another_epoch(known: Known) -> None:
    """What was begun after the first logout ends with the second."""
    epochs = {known.state.epoch}
    for _ in range(3):
        known.state.logged_out(shared=False)
        epochs.add(known.state.epoch)
    assert len(epochs) == 4


@pytest.mark.parametrize(("generation", "ended"), [(1, False), (2, True), (3, True)])
def test_a_tombstone_ends_the_tokens_up_to_its_generation(known: Known, generation: int, ended: bool) -> None:
    """Whoever obtained a newer one knew of that logout."""
    known.hold("a")
    held = known.hold("b")
    known.find_logout(generation)
    assert known.state.token == (None if ended else held)


@pytest.mark.parametrize(("generation", "adopted"), [(1, False), (2, False), (3, True)])
def test_a_record_that_a_logout_has_ended_is_not_adopted(known: Known, generation: int, adopted: bool) -> None:
    """The store may have it still; what is above the logout is a sign-in of others."""
    known.hold("a")
    known.state.logged_out(shared=True)
    assert known.find(known.token("b", generation), generation) is adopted
    assert (known.state.token is not None) is adopted


@pytest.mark.parametrize(("ends", "ended"), [(None, False), ("of others", False), ("c", True)])
def test_the_logout_of_a_chain_ends_what_the_store_never_had_of_it(known: Known, ends: str | None, ended: bool) -> None:
    """The token held is newer, but of the chain that was logged out of."""
    for access in ("a", "b"):
        known.hold(access)
    known.find_logout(1, ends=ends)
    assert (known.state.token is None) is ended
    if ended:
        assert not known.find(known.token("b", 2), 2)  # saved late, by whoever had obtained it


def test_a_logout_of_no_chain_in_particular_ends_none(known: Known) -> None:
    """A source of one's own may give tokens without a `client_id`."""
    for access in ("a", "b"):
        known.obtain(known.token(access, client_id=None))
    known.find_logout(1)
    assert known.state.token is not None


@pytest.mark.parametrize(("generation", "adopted"), [(4, False), (5, False), (6, True)])
def test_a_found_logout_counts_where_nothing_is_held(known: Known, generation: int, adopted: bool) -> None:
    """A process that was slow may still save what it has ended."""
    known.find_logout(5)
    assert known.state.generation == 5
    assert known.find(known.token("a", generation), generation) is adopted


@pytest.mark.parametrize(("saved", "kept"), [(1, True), (2, False), (3, False)])
def test_a_tombstone_that_was_saved_ends_what_was_adopted_meanwhile(known: Known, saved: int, kept: bool) -> None:
    """Up to its generation; nothing of that is adopted again, and the next token is above both."""
    known.find(known.token("a", 2), 2)
    known.state.tombstone_saved(saved)
    assert (known.state.token is not None) is kept
    assert known.state.is_fresh is kept
    assert known.state.generation == max(saved, 2)
    if not kept:
        assert not known.find(known.token("b", saved), saved)


def test_an_older_tombstone_takes_nothing_back(known: Known) -> None:
    """Nor does an older record: what a later logout has ended stays ended."""
    known.state.tombstone_saved(1)
    known.find_logout(5)
    for generation in (3, 7, 4):
        known.state.seen(generation)
    known.state.tombstone_saved(2)
    assert known.state.generation == 7
    assert not known.find(known.token("a", 5), 5)
    assert known.find(known.token("a", 6), 6)
    assert known.hold("b").generation == 8


# Rule 3: tokens are compared


def test_a_refusal_of_an_earlier_token_leaves_its_successor_alone(known: Known) -> None:
    """It is the answer to a request that was long on its way. The same for the token held counts."""
    old, new = known.hold("a"), known.hold("b")
    known.state.failed(REFUSAL, counted=False)
    known.state.rejected(old)
    assert (known.state.served, known.state.is_fresh, known.state.refused) == (True, True, None)
    known.state.rejected(new)
    assert (known.state.served, known.state.is_fresh, known.state.refused) == (False, False, REFUSAL)


def test_why_there_is_no_successor_is_told_of_the_newest_token_only(known: Known) -> None:
    """For an earlier one, the newest is the one to try."""
    old, new = known.hold("a"), known.hold("b")
    known.refuse(new)
    assert known.state.successor_failed(new) is OUTAGE
    assert known.state.successor_failed(old) is None


# Rule 4: a token that has expired


@pytest.mark.parametrize(("took", "served"), [(99.5, "b"), (100.0, "a"), (101.0, "a")])
def test_a_token_expired_on_its_way_replaces_no_living_one(known: Known, took: float, served: str) -> None:
    """Its refresh token does: the service has ended the one before. The `client_id` it was issued to goes with it."""
    known.obtain(known.token("a", refresh="r1", client_id="c1"))
    late = known.token("b", age=took, refresh="r2", client_id="c2")
    assert known.obtain(late, took=took).good is (served == "b")
    token = known.state.token
    assert token is not None
    assert (token.access_token, token.refresh_token, token.client_id) == (served, "r2", "c2")


def test_an_expired_token_is_better_than_none_or_one_that_expired_before(known: Known) -> None:
    """It is not served, but its refresh token brings another."""
    for access in ("a", "b"):
        assert not known.obtain(known.token(access, age=100), took=100).good
        assert known.state.token is not None
        assert known.state.token.access_token == access
        assert known.state.freshness is Freshness.EXPIRED


@pytest.mark.parametrize(("left", "adopted"), [(0.0, False), (0.5, True), (1.0, True)])
def test_a_record_is_served_to_its_last_second(known: Known, left: float, adopted: bool) -> None:
    """At its end, another token is to be had."""
    assert known.find(known.token("a", 1, age=LIFETIME - left), 1, left) is adopted
    assert known.state.servable is adopted


# Rule 5: a refresh token that is spent


@pytest.mark.parametrize(("generation", "spent"), [(0, False), (1, False), (2, True)])
def test_a_record_that_cannot_be_read_says_by_its_generation_what_is_spent(
    known: Known, generation: int, spent: bool
) -> None:
    """Above ours, somebody has refreshed, or logged out; up to ours, it may be our own."""
    held = known.hold("a")
    assert not known.find(None, generation)
    assert known.state.token is not None
    assert known.state.token.access_token == held.access_token
    assert (known.state.token.refresh_token is None) is spent


def test_our_own_record_gives_back_no_refresh_token_that_was_refused(known: Known) -> None:
    """It was saved before that."""
    known.hold("a")
    known.state.refresh_token_refused()
    assert not known.find(known.token("a", 1), 1)
    assert known.state.token is not None
    assert known.state.token.refresh_token is None


def test_the_token_held_takes_the_generation_that_the_store_gave_it(known: Known) -> None:
    """It was saved above a logout of another chain: it is no news, and the next one is above that."""
    known.hold("a")
    assert not known.find(known.token("a", 3), 3)
    assert known.state.token is not None
    assert known.state.token.generation == 3
    assert known.hold("b").generation == 4


def test_a_refresh_token_that_is_gone_from_our_own_record_was_refused_elsewhere(known: Known) -> None:
    """The access token beside it is kept, and no news."""
    held = known.hold("a")
    assert not known.find(known.token("a", 1, refresh=None), 1)
    assert known.state.token is not None
    assert known.state.token.access_token == held.access_token
    assert known.state.token.refresh_token is None


@pytest.mark.parametrize(("generation", "adopted"), [(1, False), (2, True), (3, True)])
def test_of_two_tokens_with_one_generation_that_of_the_store_is_held(
    known: Known, generation: int, adopted: bool
) -> None:
    """It is the one that the others use; an older one is not."""
    for access in ("a", "b"):
        known.hold(access)
    assert known.find(known.token("of others", generation), generation) is adopted
    assert known.state.token is not None
    assert known.state.token.access_token == ("of others" if adopted else "b")


# Rule 6: failures


def test_every_failure_counts_once(known: Known) -> None:
    """A refused refresh and the failed sign-in after it are one."""
    known.hold("a")
    told = [known.state.failed(OUTAGE, counted=False) for _ in range(2)]
    assert [(failed.failures, failed.retry_in, failed.served) for failed in told] == [(1, 30, True), (2, 60, True)]
    assert known.state.failures == 2
    known.state.refresh_token_refused(to_us=True)
    known.state.failed(OUTAGE, counted=True)
    assert known.state.failures == 3
    known.state.refresh_token_refused()  # to others
    assert known.state.failures == 3


@pytest.mark.parametrize("ended_by", ["a token", "a token of others", "a logout"])
def test_a_success_ends_every_pause(known: Known, ended_by: str) -> None:
    """Of this process or another; a logout begins anew, too."""
    state = known.state
    state.failed(REFUSAL, counted=False)
    assert (state.holds_off, state.retry_in, state.failures_in_a_row, state.last_error) == (REFUSAL, 60, 1, REFUSAL)
    if ended_by == "a token":
        known.hold("a")
    elif ended_by == "a token of others":
        known.find(known.token("a", 1), 1)
    else:
        state.logged_out(shared=False)
    assert (state.holds_off, state.retry_in, state.failures_in_a_row, state.last_error) == (None, 0, 0, None)
    assert state.failures == 1


def test_a_token_that_serves_nobody_ends_no_pause(known: Known) -> None:
    """One that has expired on its way, or in the store."""
    known.state.failed(REFUSAL, counted=False)
    known.obtain(known.token("a", age=100), took=100)
    known.find(known.token("b", 2, age=100), 2, left=0.0)
    assert known.state.holds_off is REFUSAL


def test_what_others_know_holds_off_and_is_no_failure(known: Known) -> None:
    """For so long; callers are told why. It was a look whether something has changed."""
    assert known.state.looked_ago == math.inf
    known.state.held_off(OUTAGE, 20)
    assert (known.state.holds_off, known.state.retry_in, known.state.failures) == (OUTAGE, 20, 0)
    known.clock.advance(5)
    assert (known.state.retry_in, known.state.looked_ago) == (15, 5)


def test_what_holds_off_while_a_token_is_served_ends_with_it(known: Known) -> None:
    """Callers would fail then: so an attempt is made at once."""
    known.hold("a")
    known.state.held_off(OUTAGE, 200)
    known.clock.advance(99.5)
    assert known.state.holds_off is OUTAGE
    assert known.state.is_fresh is False
    known.clock.advance(0.5)
    assert known.state.holds_off is None


def test_what_others_know_is_why_a_refused_token_has_no_successor(known: Known) -> None:
    """As a failure of our own would be; a token that nobody has refused is served all the same."""
    held = known.hold("a")
    known.state.held_off(OUTAGE, 20)
    assert known.state.is_fresh
    known.state.rejected(held)
    assert known.state.refused is None
    known.state.held_off(REFUSAL, 20)
    assert known.state.refused is REFUSAL
    assert not known.state.is_fresh


@pytest.mark.parametrize(
    ("age", "pause"), [(0, math.inf), (40, math.inf), (40.5, 29.75), (60, 20), (80, 10), (90, 10), (99, 10)]
)
def test_near_the_end_of_a_token_pauses_grow_short(known: Known, age: float, pause: float) -> None:
    """In its last minute half of what is left, so that more than one attempt is made; its hard margin at least."""
    known.hold("a")
    known.clock.advance(age)
    assert known.state.longest_pause == pause
    assert known.state.failed(OUTAGE, counted=False).retry_in == min(30, pause)


def test_without_a_token_nothing_limits_a_pause(known: Known) -> None:
    """There is no end of one to come before."""
    assert known.state.longest_pause == math.inf


# Rule 7: a token that was refused


@pytest.mark.parametrize("of_others", [False, True])
def test_another_token_ends_the_refusal(known: Known, of_others: bool) -> None:
    """Of this process, or of another."""
    known.refuse(known.hold("a"))
    if of_others:
        assert known.find(known.token("b", 2), 2)
    else:
        known.hold("b")
    assert (known.state.freshness, known.state.is_fresh, known.state.served) == (Freshness.FRESH, True, True)
    assert known.state.refused is None


def test_a_refused_token_without_a_successor_is_not_served(known: Known) -> None:
    """Not in the moment before the failure is known, either: then its successor is being fetched."""
    held = known.hold("a")
    known.state.rejected(held)
    assert (known.state.freshness, known.state.served) == (Freshness.FRESH, False)
    known.state.failed(OUTAGE, counted=False)
    assert known.state.freshness is Freshness.REFUSED
    assert not known.state.is_fresh


def test_a_token_refused_while_attempts_are_forbidden_has_no_successor(known: Known) -> None:
    """What forbids them is the reason, also for a 401 that comes when nothing does any more."""
    held = known.hold("a")
    known.state.failed(REFUSAL, counted=False)
    for _ in range(2):
        known.state.rejected(held)
        assert known.state.refused is REFUSAL
        assert not known.state.is_fresh
        known.clock.advance(60)


def test_an_answer_to_a_refused_token_ends_that(known: Known) -> None:
    """The API has accepted it: it is fresh again, and that is told once. A refusal ends the proof."""
    held = known.hold("a")
    assert not known.state.accepted(held)
    assert known.state.proven is held
    known.state.rejected(held)
    assert known.state.proven is None
    assert not known.state.accepted(held)  # its successor was yet to be had
    known.refuse(held)
    assert known.state.accepted(held)
    assert known.state.proven is held
    assert (known.state.freshness, known.state.is_fresh) == (Freshness.FRESH, True)
    known.state.doubted()
    assert known.state.proven is None
    assert known.state.is_fresh


def test_a_late_answer_to_an_earlier_token_says_nothing_of_the_one_refused(known: Known) -> None:
    """The request was sent before the token was replaced."""
    old, new = known.hold("a"), known.hold("b")
    known.refuse(new)
    assert not known.state.accepted(old)
    assert known.state.refused is OUTAGE
    assert not known.state.is_fresh


# Rule 8, and whose it is


async def test_a_closed_state_says_what_to_do(known: Known) -> None:
    """No token is served, neither the one held nor one that arrives late, to be saved."""
    known.state.check_usable()
    known.hold("a")
    known.state.close()
    assert (known.state.freshness, known.state.is_fresh, known.state.served) == (Freshness.CLOSED, False, False)
    known.hold("b")
    assert (known.state.freshness, known.state.is_fresh, known.state.served) == (Freshness.CLOSED, False, False)
    with pytest.raises(SessionClosedError, match="make a new one"):
        known.state.check_usable()
    known.state.check_closable()


async def test_the_copy_in_a_child_process_is_of_no_use_there(known: Known) -> None:
    """The sockets and the flight are the parent's: no token is served, and closing would reach for them."""
    known.state.check_usable()
    known.hold("a")
    known.state.fork()
    assert not known.state.is_fresh
    for check in (known.state.check_usable, known.state.check_closable):
        with pytest.raises(ConfigurationError, match="the process before a fork"):
            check()


async def test_another_loop_closes_nothing_under_the_one_that_runs(known: Known) -> None:
    """Nor does it get a token. Once the first has ended, closing from another is fine."""

    async def elsewhere() -> None:
        with pytest.raises(ConfigurationError, match="one session for each loop"):
            known.state.check_usable()
        with pytest.raises(ConfigurationError, match="one session for each loop"):
            known.state.check_closable()

    known.state.check_usable()
    await asyncio.to_thread(asyncio.run, elsewhere())


async def test_a_loop_that_has_ended_hinders_nobody_from_closing(known: Known) -> None:
    """As where each call is an `asyncio.run` of its own. But its sockets are of no use to another, in any thread."""

    async def use() -> None:
        known.state.check_usable()

    def use_twice() -> None:
        asyncio.run(use())
        with pytest.raises(ConfigurationError, match="one session for each loop"):
            asyncio.run(use())

    known.state.check_closable()  # not used yet
    await asyncio.to_thread(use_twice)
    known.state.check_closable()


async def test_a_call_only_waits_where_there_is_nothing_else_to_be_had(known: Known) -> None:
    """With no token, no failure and its own loop: a flight under way is then all there is to look at."""
    state = known.state
    assert not state.only_waits  # not tied to a loop yet
    state.check_usable()
    assert state.only_waits
    assert not await asyncio.to_thread(lambda: state.only_waits)
    state.failed(OUTAGE, counted=False)
    assert not state.only_waits
    known.hold("a")
    assert not state.only_waits
    state.logged_out(shared=False)
    assert state.only_waits
    state.fork()
    assert not state.only_waits
