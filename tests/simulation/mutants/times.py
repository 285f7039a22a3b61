# pyright: reportPrivateUsage=false
# The defects are inside.
"""Defects of time: how old a token is, when it is to be refreshed, how long a failure holds off the next attempt."""

import math
from typing import Any

from nexudus_async import Freshness, RefreshPolicy, Token, TokenManager
from nexudus_async._http.unauthorized import CircuitBreaker
from nexudus_async._oauth import grants
from nexudus_async._refresh import backoff as backoffs
from nexudus_async._refresh import policy as policies
from nexudus_async._refresh import state as states
from nexudus_async._refresh.backoff import Backoff
from nexudus_async._refresh.coordinator import Coordinator
from nexudus_async._refresh.outcomes import Granted, Obtained
from nexudus_async._refresh.policy import Held, Schedule
from nexudus_async._refresh.renewal import Asking
from nexudus_async._refresh.state import TokenState

from .machinery import Mutants, Original

__all__ = ["MUTANTS"]

MUTANTS = Mutants("alone")


@MUTANTS.replacing(Coordinator, "token")
async def an_expired_token_is_served(original: Original, self: Coordinator) -> Any:
    if self.state.freshness is Freshness.EXPIRED:
        return self.state.token
    return await original(self)


@MUTANTS.replacing(Held, "elapsed")
def only_the_monotonic_clock_counts(original: Original, self: Held, monotonic: float, wall: float) -> float:
    return monotonic - self.sent_monotonic


@MUTANTS.replacing(TokenManager, "token")
async def the_hot_path_trusts_the_monotonic_clock(original: Original, self: TokenManager) -> Any:
    state = self._state
    return state.fresh if state.monotonic() < state.fresh_monotonic else await original(self)


@MUTANTS.replacing(TokenManager, "token")
async def the_hot_path_trusts_the_wall_clock(original: Original, self: TokenManager) -> Any:
    state = self._state
    return state.fresh if state.wall() < state.fresh_wall else await original(self)


@MUTANTS.replacing(states, "schedule")
def jitter_goes_beyond_the_hard_margin(
    original: Original, policy: RefreshPolicy, lifetime: float, chance: float
) -> Schedule:
    plan: Schedule = original(policy, lifetime, chance)
    window = policies._window(policy, lifetime)
    return plan._replace(refresh_after=min(lifetime - window * (1 - policy.jitter * chance), lifetime))


@MUTANTS.replacing(states, "age_of")
def lifetime_counts_from_the_answer(original: Original, *args: Any) -> float:
    return 0.0


@MUTANTS.replacing(states, "age_of")
def a_wall_clock_set_during_the_request_is_not_noticed(
    original: Original, token: Token, wall: float, monotonic_elapsed: float, wall_elapsed: float
) -> float:
    age: float = original(token, wall, monotonic_elapsed, wall_elapsed)
    return min(age, monotonic_elapsed)


@MUTANTS.replacing(TokenState, "_take")
def a_token_that_expired_on_its_way_replaces_a_good_one(
    original: Original, self: TokenState, token: Token, age: float
) -> None:
    self._hold(token, age)


@MUTANTS.replacing(Asking, "_within_deadline")
async def no_deadline(original: Original, self: Asking, answer: Any) -> Any:
    return await answer


# Back-off


@MUTANTS.replacing(Backoff, "in_force")
def back_off_is_ignored(original: Original, self: Backoff, now: float, *, served: bool) -> None:
    return None


@MUTANTS.replacing(TokenState, "granted")
def back_off_is_not_cleared_by_success(
    original: Original, self: TokenState, obtained: Obtained, **kwargs: Any
) -> Granted:
    before = self._backoff
    granted: Granted = original(self, obtained, **kwargs)
    self._backoff = before
    return granted


@MUTANTS.replacing(Backoff, "in_force")
def a_pause_outlives_the_token(original: Original, self: Backoff, now: float, *, served: bool) -> Any:
    return original(self, now, served=True)


@MUTANTS.replacing(backoffs, "latch_delay")
def rejected_credentials_are_not_latched(original: Original, *args: Any) -> float:
    return 1.0


@MUTANTS.replacing(Backoff, "latched")
def another_failure_ends_the_rest_of_refused_credentials(original: Original, self: Backoff) -> bool:
    return False


@MUTANTS.replacing(policies, "_at_least")
def retry_after_is_ignored_by_back_off(original: Original, delay: float, retry_after: float | None) -> float:
    return delay


@MUTANTS.replacing(grants, "_asked_wait")
def retry_after_is_ignored_by_a_flight(original: Original, state: object) -> float:
    return 0.0


@MUTANTS.replacing(CircuitBreaker, "refused")
def futile_refreshes_are_forgotten(
    original: Original, self: CircuitBreaker, method: str, path: str, *args: Any
) -> None:
    original(self, method, path, *args)
    self._refusals[method, path].until = -math.inf


@MUTANTS.replacing(CircuitBreaker, "allow")
def many_paths_force_many_refreshes(original: Original, self: CircuitBreaker, *args: Any) -> Any:
    self._next_of_others = -math.inf
    return original(self, *args)
