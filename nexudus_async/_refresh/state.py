"""The token held, and all that is remembered of it: every change is made in this file, and nothing here waits.

The facts are the token with its place in time, the highest generation seen, the epoch, the failures since the last
success, and whether the session is closed. What follows from them (the freshness, what back-off forbids) is computed
when it is asked for, so that it cannot disagree with them.

What happens to a token is a method below. Each is one step, returns what came of it, and keeps these rules:

1. The generation only grows: a new token has one more than all that was seen, be it in this process or in the store.
2. A logout begins an epoch. What was begun in an earlier epoch changes nothing any more.
3. Tokens are compared, not clocks: a refusal counts for the token that was refused, and not for its successor.
4. A token that has expired replaces no living one; its refresh token does, because the service has ended the old one.
5. A refresh token that was refused is dropped, and the access token beside it kept as long as it lives.
6. A failure forbids further attempts for a while; a success, of this process or another, ends that at once.
7. Closed is for ever: a token may still arrive and be saved, and is served to nobody.

`fresh`, `fresh_monotonic` and `fresh_wall` repeat what follows from the facts, for the one comparison of the hot path.
"""

import asyncio
import dataclasses
import math
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass

from nexudus_async._clock import Clock
from nexudus_async._events import Grant
from nexudus_async._token import Token
from nexudus_async.errors import ConfigurationError, NexudusAuthError, SessionClosedError

from .backoff import Backoff
from .policy import SERVABLE, Freshness, RefreshPolicy, Schedule, age_of, schedule

ELSEWHERE = (
    "this session belongs to another event loop, or to the process before a fork: make one session for each loop and "
    "process, inside its main coroutine"
)
STORE_PAUSE = 5.0
"""Seconds for which a store that is down is left alone while the token is good anyway."""
_NO_FAILURE = Backoff()


@dataclass(frozen=True, slots=True)
class Obtained:
    """A token, the grant that brought it, and when the source was asked, by both readings of the clock."""

    token: Token
    grant: Grant
    asked: float
    asked_wall: float


@dataclass(frozen=True, slots=True)
class Granted:
    """What came of an answer. token: with its generation. good: whether it has not expired on its way."""

    token: Token
    good: bool


@dataclass(frozen=True, slots=True)
class Shared:
    """What another process has left: a token with seconds to live, or none; the generation; whether it was a logout."""

    token: Token | None
    generation: int
    life_left: float
    logged_out: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """What came of a failure. retry_in: seconds without another attempt. served: whether a token is still good."""

    failures: int
    retry_in: float
    served: bool


@dataclass(frozen=True, slots=True)
class Held:
    """A token, its schedule, and when its request was sent by both readings of the clock."""

    token: Token
    schedule: Schedule
    sent_monotonic: float
    sent_wall: float

    def elapsed(self, monotonic: float, wall: float) -> float:
        """Return the age of the token: the larger reading, since one clock can stand still and the other be stepped."""
        return max(monotonic - self.sent_monotonic, wall - self.sent_wall)

    def freshness(self, monotonic: float, wall: float) -> Freshness:
        """Return the state now."""
        return self.schedule.freshness(self.elapsed(monotonic, wall))


class TokenState:
    """The state of one manager."""

    def __init__(self, policy: RefreshPolicy, clock: Clock, chance: Callable[[], float]) -> None:
        self._policy, self._chance = policy, chance
        self.clock, self.monotonic, self.wall = clock, clock.monotonic, clock.wall
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop of the first use, which it belongs to."""
        self.closed = self.forked = False
        """forked: this is a copy of one in use, in a child process: the flight and the sockets are the parent's."""
        self.epoch = 0
        """How many logouts there were."""
        self.generation = 0
        """The highest ever seen, of a token or of a logout: the next one is higher."""
        self.fresh: Token
        """The token, while the clock reads less than the two limits below."""
        self.fresh_monotonic = self.fresh_wall = -math.inf
        self.obtained: dict[Grant, int] = {"password": 0, "refresh_token": 0}
        self.adoptions = self.failures = self.rejections = 0
        self._held: Held | None = None
        self._backoff = _NO_FAILURE
        self._quiet_until = -math.inf

    # What follows from the facts

    @property
    def token(self) -> Token | None:
        """The token, fresh or not."""
        return self._held.token if self._held is not None else None

    @property
    def freshness(self) -> Freshness:
        """The state, computed now."""
        if self.closed:
            return Freshness.CLOSED
        return Freshness.EMPTY if self._held is None else self._held.freshness(self.monotonic(), self.wall())

    @property
    def servable(self) -> bool:
        """Whether the token has not expired, be the session closed or not."""
        held = self._held
        return held is not None and held.freshness(self.monotonic(), self.wall()) is not Freshness.EXPIRED

    @property
    def remaining(self) -> float | None:
        """Seconds left of the token, None without one."""
        age = self.age
        return None if age is None or self._held is None else max(0.0, self._held.schedule.lifetime - age)

    @property
    def age(self) -> float | None:
        """Seconds since the token was asked for, None without one."""
        return None if self._held is None else self._held.elapsed(self.monotonic(), self.wall())

    @property
    def due_in(self) -> float | None:
        """Seconds until the token is to be refreshed, negative when that is due; None without a token."""
        age = self.age
        return None if age is None or self._held is None else self._held.schedule.refresh_after - age

    @property
    def failures_in_a_row(self) -> int:
        """How many attempts have failed since the last success."""
        return self._backoff.failures

    @property
    def retry_in(self) -> float:
        """Seconds that back-off still holds, 0 for none."""
        return self._backoff.retry_in(self.monotonic(), served=self.servable)

    @property
    def holds_off(self) -> NexudusAuthError | None:
        """The failure that forbids another attempt now."""
        if self._backoff.error is None:  # the common answer costs a herd that signs in no look at the clock
            return None
        return self._backoff.in_force(self.monotonic(), served=self.servable)

    @property
    def latched(self) -> NexudusAuthError | None:
        """The refusal after which the credentials must change before they are sent again."""
        return self._backoff.rejection if self._backoff.latched else None

    @property
    def quiet(self) -> bool:
        """Whether nothing is refreshed ahead of time just now, because the store is down."""
        return self.monotonic() < self._quiet_until

    def replaced(self, token: Token) -> bool:
        """Tell whether another token than this one is held. Tokens are compared, not clocks."""
        held = self.token
        return held is not None and (held.generation, held.access_token) != (token.generation, token.access_token)

    # Whose it is

    def check_usable(self) -> None:
        """Tie the state to the running event loop at its first use; raise on use from elsewhere, or once closed."""
        if self.closed:
            raise SessionClosedError("the session is closed: make a new one")
        if self.forked:  # where no loop runs, though the coroutine may be in the middle of one
            raise ConfigurationError(ELSEWHERE)
        loop = asyncio.get_running_loop()
        if self.loop is None:
            self.loop = loop
            _in_use.add(self)
        if self.loop is not loop:
            raise ConfigurationError(ELSEWHERE)

    def check_closable(self) -> None:
        """Raise where closing would reach into another thread, or into the process before a fork."""
        if self.forked or (
            self.loop is not None and self.loop.is_running() and self.loop is not asyncio.get_running_loop()
        ):
            raise ConfigurationError(ELSEWHERE)

    # What happens

    def granted(self, obtained: Obtained) -> Granted:
        """The source has given a token: hold it. Back-off ends, unless it has expired on its way."""
        now, wall = self.monotonic(), self.wall()
        token = dataclasses.replace(obtained.token, generation=self.generation + 1)
        age = age_of(token, wall, now - obtained.asked, wall - obtained.asked_wall)
        good = age < token.lifetime
        if good or self._held is None or not self.servable:
            self._hold(token, age)
        else:
            kept = self._held.token
            self._replace(dataclasses.replace(kept, refresh_token=token.refresh_token, client_id=token.client_id))
        self.generation = token.generation
        if good:
            self.obtained[obtained.grant] += 1
            self._backoff = _NO_FAILURE
        return Granted(token, good)

    def adopted(self, shared: Shared, *, asked_for_new: bool) -> bool:
        """The store has what another process has left: take it over if it is news; tell whether it is to be served.

        asked_for_new: somebody wants a token newer than the one that a session without any finds there.
        """
        if shared.logged_out and shared.generation > self.generation:
            self._forget()
        known, newest, token = self.token, self.generation, shared.token
        self.generation = max(newest, shared.generation)
        if token is None or (known is None and shared.generation <= newest):
            return False  # nothing to adopt, or what a logout has ended
        if known is not None and not _is_news(token, known):
            if token.refresh_token is None and token.access_token == known.access_token:
                self.refresh_token_refused()  # by another process
            return False
        self._hold(token, token.lifetime - shared.life_left)
        if not self.servable or (known is None and asked_for_new):
            return False
        self.adoptions += 1
        self._backoff = _NO_FAILURE
        return True

    def refresh_token_refused(self) -> None:
        """The refresh token must not be sent again."""
        if self._held is not None:
            self._replace(dataclasses.replace(self._held.token, refresh_token=None))

    def failed(self, error: NexudusAuthError) -> Failed:
        """An attempt has failed: forbid others for a while."""
        served = self.freshness in SERVABLE
        self.failures += 1
        self._backoff = self._backoff.failed(error, self.monotonic(), served=served, chance=self._chance())
        return Failed(self._backoff.failures, self.retry_in, served)

    def rested(self, error: NexudusAuthError, seconds: float) -> None:
        """Refused credentials were not sent again: remember the refusal, which is known already, for so long."""
        self._backoff = self._backoff.rested(error, self.monotonic() + seconds)

    def store_failed(self) -> None:
        """The store is down, and the token good for now: leave both alone for a moment."""
        self._quiet_until = self.monotonic() + STORE_PAUSE * (1 + self._chance())

    def rejected(self, _token: Token) -> None:
        """The API has answered 401 to a token."""
        self.rejections += 1

    def logged_out(self, *, shared: bool) -> None:
        """Forget the token and the failures, and let nothing that is under way change that.

        shared: a store has the token, too, which is not to be adopted again.
        """
        self.epoch += 1
        self._forget()
        self._backoff = _NO_FAILURE
        if shared:
            self.generation += 1

    def tombstone_saved(self, generation: int) -> None:
        """The store has a tombstone: what was adopted meanwhile of the chain that it ends is forgotten."""
        if (token := self.token) is not None and token.generation < generation:
            self._forget()
        self.generation = max(self.generation, generation)

    def close(self) -> None:
        """Serve nothing any more."""
        self.closed = True
        self._stop_serving()

    def fork(self) -> None:
        """This is a copy in a child process: let nothing here pass for fresh."""
        self.forked = True
        self._stop_serving()

    def _hold(self, token: Token, age: float) -> None:
        plan = schedule(self._policy, token.lifetime, self._chance())
        self._held = held = Held(token, plan, self.monotonic() - age, self.wall() - age)
        self.generation = max(self.generation, token.generation)
        if not self.closed:
            self.fresh = token
            self.fresh_monotonic = held.sent_monotonic + plan.refresh_after
            self.fresh_wall = held.sent_wall + plan.refresh_after

    def _replace(self, token: Token) -> None:
        """Hold the same access token, with another refresh token beside it."""
        if self._held is not None:
            self._held = dataclasses.replace(self._held, token=token)
            self.fresh = token

    def _forget(self) -> None:
        self._held = None
        self._stop_serving()

    def _stop_serving(self) -> None:
        self.fresh_monotonic = self.fresh_wall = -math.inf


def _is_news(token: Token, known: Token) -> bool:
    """Tell whether a record's token is to replace the one held: it is newer, or as new and the one that others use.

    The token held itself, refused with 401 or due, is none: it would be refreshed by nobody.
    """
    if token.generation == known.generation:
        return token.access_token != known.access_token
    return token.generation > known.generation


_in_use: weakref.WeakSet[TokenState] = weakref.WeakSet()


def _after_fork() -> None:
    for state in _in_use:
        state.fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
