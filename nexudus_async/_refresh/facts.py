"""The facts of a token's state, and what follows from them. Nothing here changes anything: see `state.py`."""

import asyncio
import math
from collections.abc import Callable
from threading import get_ident

from nexudus_async._clock import Clock
from nexudus_async._events import Grant
from nexudus_async._token import Token
from nexudus_async.errors import NexudusAuthError

from .backoff import Backoff
from .policy import SERVED_DELAYS, Freshness, Held, RefreshPolicy

NO_FAILURE = Backoff()


class TokenFacts:
    """What is known of the token of one manager."""

    def __init__(self, policy: RefreshPolicy, clock: Clock, chance: Callable[[], float]) -> None:
        self.policy, self._chance = policy, chance
        self.clock, self.monotonic, self.wall = clock, clock.monotonic, clock.wall
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop of the first use, which it belongs to."""
        self.thread = 0
        """The thread of that loop."""
        self.loop_is_running: Callable[[], bool] = bool
        self.closed = self.forked = False
        """forked: this is a copy of one in use, in a child process: the flight and the sockets are the parent's."""
        self.epoch: int = 0
        """How many logouts there were."""
        self.generation: int = 0
        """The highest ever seen, of a token or of a logout: the next one is higher."""
        self._logged_out_at: int = 0
        """The generation that the last logout has ended: no record up to it is adopted."""
        self.fresh: Token
        """The token, while the clock reads less than the two limits below."""
        self.fresh_monotonic = self.fresh_wall = -math.inf
        self.obtained: dict[Grant, int] = {"password": 0, "refresh_token": 0, "exchange": 0}
        self.adoptions: int = 0
        self.failures: int = 0
        self.rejections: int = 0
        self._held: Held | None = None
        self.proven: Token | None = None
        """The token that the API has accepted last, since it refused one."""
        self._rejected: Token | None = None
        """The token held, if the API has refused it."""
        self._no_successor: NexudusAuthError | None = None
        """Why there is no other."""
        self._backoff = NO_FAILURE
        self._quiet_until = -math.inf

    @property
    def is_fresh(self) -> bool:
        """Whether `fresh` is to be served."""
        return self.monotonic() < self.fresh_monotonic and self.wall() < self.fresh_wall

    @property
    def only_waits(self) -> bool:
        """Whether a call, while a flight is under way, can only wait for it: no token, no failure, the right loop."""
        return (
            self._held is None
            and self._backoff is NO_FAILURE
            and not self.forked
            and get_ident() == self.thread
            and self.loop_is_running()
        )

    @property
    def token(self) -> Token | None:
        """The token, fresh or not."""
        return self._held.token if self._held is not None else None

    @property
    def freshness(self) -> Freshness:
        """The state, computed now."""
        if self.closed:
            return Freshness.CLOSED
        if self._held is None:
            return Freshness.EMPTY
        return Freshness.REFUSED if self.refused is not None else self._by_time

    @property
    def _by_time(self) -> Freshness:
        return Freshness.EMPTY if self._held is None else self._held.freshness(self.monotonic(), self.wall())

    @property
    def servable(self) -> bool:
        """Whether there is a token that has not expired; it may have been refused, and the session closed."""
        return self._held is not None and self._by_time is not Freshness.EXPIRED

    @property
    def served(self) -> bool:
        """Whether callers are content with the token: it has not expired, and the API has not refused it."""
        return not self.closed and self._rejected is None and self.servable

    @property
    def refused(self) -> NexudusAuthError | None:
        """Why no token can be had in place of the one that the API refused; None where that is not so."""
        return None if self._rejected is None else self._no_successor

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
    def hard_in(self) -> float:
        """Seconds until callers wait for another token, negative when they do."""
        age, held = self.age, self._held
        return 0.0 if age is None or held is None else held.schedule.hard_after - age

    @property
    def without_store_in(self) -> float:
        """Seconds until the token held must be replaced though the store is down: within the hard margin, at random.

        All processes of a fleet meet the margin in the same second, and would sign in together.
        """
        age, held = self.age, self._held
        if age is None or held is None:
            return 0.0
        plan = held.schedule
        return plan.hard_after + plan.spread * (plan.lifetime - plan.hard_after) - age

    @property
    def longest_pause(self) -> float:
        """Seconds that a pause may last while the token held is served.

        In the last minute of its life half of what is left, so that a short token sees more than one attempt; but no
        less than its hard margin, or the attempts would come ever faster.
        """
        age, held = self.age, self._held
        if age is None or held is None or (left := held.schedule.lifetime - age) >= 2 * SERVED_DELAYS[0]:
            return math.inf
        return max(left / 2, held.schedule.lifetime - held.schedule.hard_after)

    @property
    def failures_in_a_row(self) -> int:
        """How many attempts have failed since the last success."""
        return self._backoff.failures

    @property
    def retry_in(self) -> float:
        """Seconds that back-off still holds, 0 for none."""
        return self._backoff.retry_in(self.monotonic(), served=self.served)

    @property
    def holds_off(self) -> NexudusAuthError | None:
        """The failure that forbids another attempt now."""
        return self.held_off_by(served=self.served)

    def held_off_by(self, *, served: bool) -> NexudusAuthError | None:
        """Return the failure that forbids another attempt now, if callers are, or are not, content with the token."""
        if self._backoff.error is None:  # the usual answer, without a look at the clock: thousands may ask at once
            return None
        return self._backoff.in_force(self.monotonic(), served=served)

    @property
    def last_error(self) -> NexudusAuthError | None:
        """What callers were told last, since the last success."""
        return self._backoff.error

    @property
    def looked_ago(self) -> float:
        """Seconds since the last look, in this pause, whether something has changed; infinite before the first."""
        return self.monotonic() - self._backoff.looked

    @property
    def quiet(self) -> bool:
        """Whether nothing is refreshed ahead of time just now."""
        return self.monotonic() < self._quiet_until

    def replaced(self, token: Token) -> bool:
        """Tell whether another token than this one is held. Tokens are compared, not clocks."""
        held = self.token
        return held is not None and (held.generation, held.access_token) != (token.generation, token.access_token)

    def successor_failed(self, token: Token) -> NexudusAuthError | None:
        """Return why there is no other token than this one, which the API has refused; None where there may be one."""
        return None if self.replaced(token) else self.refused
