"""Every number and every rule about time: how fresh a token is, when to refresh it, how long to hold off.

Pure: no await, no clock, no log, no randomness of its own. All times are in seconds.

A token's life, counted from the moment its request was sent:

    0 ............ refresh_after ........ hard_after ... lifetime
      FRESH          ADVISORY              MANDATORY       EXPIRED
      served         served, one flight    waits a little  waits
                     in the background
"""

import enum
import math
from dataclasses import dataclass
from typing import NamedTuple

from nexudus_async._token import Token
from nexudus_async._validation import check_seconds, check_share
from nexudus_async._value import Value
from nexudus_async.errors import ConfigurationError

MINUTE = 60.0
SHARE_OF_LIFETIME = 0.5
"""A window of the policy's own choosing is at most this share, so that short tokens are used more than once."""
CLAMP_OF_LIFETIME = 0.9
"""A window given by hand is at most this share: refreshing without a pause would be a loop against the service."""
HARD_MARGIN = 60.0
"""Seconds before a token's end from which callers wait: room for clocks that differ, and for requests on their way."""
HARD_MARGIN_SHARE = 0.1
"""Of the lifetime, at most: short tokens cannot give a minute."""
SERVED_DELAYS = (30.0, 60.0, 120.0, 300.0)
"""Back-off while a token is still served: nobody waits, so there is no hurry."""
EMPTY_DELAYS = (0.5, 1.0, *(2.0,) * 20, 5.0)
"""Back-off with nothing to serve: callers fail meanwhile, so it must not outlive the outage; all of them share it.
For the first half minute, two seconds at most; an outage that lasts longer is not over in the next second either."""
UNEXPLAINED_DELAYS = (0.5, 1.0, 2.0, *SERVED_DELAYS)
"""The same where the service, or something before it, refuses without a reason: a slip is over soon; but it may be the
credentials that are refused, which are not to be sent every few seconds for hours."""
LATCH_DELAYS = (60.0, 300.0, 3600.0)
"""Pauses after the first, the second and each further refusal of the credentials: services lock accounts that insist.
None is for good: a suspension ends, a clock is set, and the service answers both as it answers a wrong password."""
LONGEST_LATCH = LATCH_DELAYS[-1]
CODES_TRIED = 3
"""How often in a row the next one-time code of a callable is tried at its own time, before the pauses of a latch."""
CODE_MARGIN = 0.5
"""Seconds to wait beyond the change of a one-time code: it changes by the wall clock, and we wait by the other one; who
wakes a moment too early gets the old code again."""
RETRY_AFTER_CAP = 3600.0
"""A `Retry-After` beyond an hour is taken for an hour."""
LONGEST_PAUSE = RETRY_AFTER_CAP * 1.25
"""No pause after a failure is longer, its jitter included."""
DELAY_JITTER = 0.25
"""Back-off is lengthened by up to this share, so that a fleet does not come back in step."""


class Freshness(enum.Enum):
    """How good the token held is, and so what a caller gets.

    EMPTY: there is none; a caller waits for the sign-in, and gets its failure.
    FRESH: it is served at once.
    ADVISORY: it is served at once, and one refresh runs in the background.
    MANDATORY: it ends soon; a caller waits a little for the refresh, and else gets the token.
    EXPIRED: a caller waits for the refresh, and gets its failure.
    REFUSED: the API refused it, and no successor could be had; a caller gets that failure.
    CLOSED: `close()` was called; a caller gets `SessionClosedError`.
    """

    EMPTY = "empty"
    FRESH = "fresh"
    ADVISORY = "advisory"
    MANDATORY = "mandatory"
    EXPIRED = "expired"
    REFUSED = "refused"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class RefreshPolicy(Value):
    """When to refresh, and how long to wait for what. All in seconds; the defaults suit seconds as well as weeks.

    advisory_window: how long before its end a token is refreshed in the background. None: 5 minutes for lifetimes up to
        20 minutes, 15 minutes below 90, else 60, and never more than half the lifetime. A number replaces both rules,
        and is only kept below the lifetime.
    hard_margin: how long before its end callers wait for the refresh. None: a minute, or a tenth of the lifetime if
        that is less: clocks and requests in flight need some room, short tokens cannot give more.
    jitter: the share of the window, 0 to 1, by which the refresh of each token is delayed at random, so that
        processes started together do not refresh together.
    mandatory_wait: how long a caller waits within the hard margin before it gets the ageing token: better late than
        refused, and the token is still good.
    flight_deadline: how long a sign-in or refresh may take in all: longer than a slow service, shorter than a
        caller's patience.
    connect_timeout: for one connection attempt: a lost SYN is sent again after 1, 3 and 7 seconds.
    default_lifetime: for an answer without `expires_in` (RFC 6749, section 5.1 leaves it to documentation): an hour
        is the shortest that is usual.
    close_timeout: how long `close()` lets a running refresh finish, so that its token is not lost.

    Raises `ConfigurationError` for numbers that make no sense.
    """

    advisory_window: float | None = None
    hard_margin: float | None = None
    jitter: float = 0.25
    mandatory_wait: float = 5.0
    flight_deadline: float = 30.0
    connect_timeout: float = 10.0
    default_lifetime: float = 3600.0
    close_timeout: float = 5.0

    def __post_init__(self) -> None:
        for name in ("advisory_window", "hard_margin"):
            if getattr(self, name) is not None:
                check_seconds(name, getattr(self, name), zero=True)
        for name in ("mandatory_wait", "close_timeout"):
            check_seconds(name, getattr(self, name), zero=True)
        for name in ("flight_deadline", "connect_timeout", "default_lifetime"):
            check_seconds(name, getattr(self, name), zero=False)
        check_share("jitter", self.jitter, "window")
        window, margin = self.advisory_window, self.hard_margin
        if window is not None and margin is not None and margin >= window:
            raise ConfigurationError(
                f"hard_margin ({margin!r}) must be less than advisory_window ({window!r}): "
                "a token is refreshed in the background before anyone waits for it"
            )


class Schedule(NamedTuple):
    """The three moments of one token's life, in seconds since its request was sent."""

    refresh_after: float
    hard_after: float
    lifetime: float
    spread: float = 0.0
    """A number from 0 to 1, of this token's own: where in the hard margin it is replaced while the store is down."""

    def freshness(self, elapsed: float) -> Freshness:
        """Return the state at `elapsed`; each boundary belongs to the later state."""
        if elapsed < self.refresh_after:
            return Freshness.FRESH
        if elapsed < self.hard_after:
            return Freshness.ADVISORY
        if elapsed < self.lifetime:
            return Freshness.MANDATORY
        return Freshness.EXPIRED


class Held(NamedTuple):
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


def age_of(token: Token, wall: float, monotonic_elapsed: float, wall_elapsed: float) -> float:
    """Return how long ago the request for `token` was sent, at most.

    monotonic_elapsed, wall_elapsed: seconds since the source was asked, by both readings of the clock; the request
    may have been sent later, or the token have lain somewhere. The token says when it ends, by the wall clock, and so
    how old it is; what the wall clock was set back meanwhile is added. An age that cannot be true is taken for the
    longest possible one, which is safe. To the millisecond: a datetime's rounding must not blur the boundaries.
    """
    longest = max(monotonic_elapsed, wall_elapsed)
    set_back = max(0.0, monotonic_elapsed - wall_elapsed)
    age = round(token.lifetime - (token.expires_at.timestamp() - wall), 3)
    if age > longest:  # it is older than the question
        return age
    return min(age + set_back, longest) if age + set_back >= 0 else longest


def schedule(policy: RefreshPolicy, lifetime: float, chance: float) -> Schedule:
    """Return the schedule of a token. `chance`, from 0 to 1, is its share of the jitter."""
    window = _window(policy, lifetime)
    margin = _margin(policy, lifetime, window)
    hard_after = lifetime - margin
    refresh_after = min(lifetime - window + policy.jitter * chance * window, hard_after)
    return Schedule(refresh_after, hard_after, lifetime, spread=chance)


def served_delay(failures: int, retry_after: float | None, chance: float, at_most: float = math.inf) -> float:
    """Return how long to hold off after the `failures`-th failure in a row while a token is still served.

    at_most: seconds that its remaining life allows; what the service asks for may be more.
    """
    return _at_least(min(_step(SERVED_DELAYS, failures) * (1 + DELAY_JITTER * chance), at_most), retry_after)


def empty_delay(failures: int, retry_after: float | None, chance: float, *, unexplained: bool = False) -> float:
    """Return how long all callers share the `failures`-th failure in a row when there is nothing to serve."""
    delays = UNEXPLAINED_DELAYS if unexplained else EMPTY_DELAYS
    return _at_least(_step(delays, failures) * (1 - DELAY_JITTER * chance), retry_after)


def latch_delay(rejections: int, next_code_in: float | None = None) -> float:
    """Return how long refused credentials rest after their `rejections`-th refusal in a row.

    next_code_in: seconds until a callable gives another one-time code, None where no code was refused.
    """
    if next_code_in is None:
        return _step(LATCH_DELAYS, rejections)
    if rejections <= CODES_TRIED:
        return next_code_in + CODE_MARGIN
    return _step(LATCH_DELAYS, rejections - CODES_TRIED)


def _window(policy: RefreshPolicy, lifetime: float) -> float:
    if policy.advisory_window is not None:
        return min(policy.advisory_window, lifetime * CLAMP_OF_LIFETIME)
    return min(_tier(lifetime), lifetime * SHARE_OF_LIFETIME)


def _tier(lifetime: float) -> float:
    """Return the window by the tiers of the AWS SDKs: the longer a token lives, the more time there is."""
    if lifetime <= 20 * MINUTE:
        return 5 * MINUTE
    return 15 * MINUTE if lifetime < 90 * MINUTE else 60 * MINUTE


def _margin(policy: RefreshPolicy, lifetime: float, window: float) -> float:
    margin = policy.hard_margin
    if margin is None:
        margin = min(HARD_MARGIN, lifetime * HARD_MARGIN_SHARE)
    return margin if margin < window else window / 2  # a window shorter than the margin still has an advisory half


def _step(delays: tuple[float, ...], count: int) -> float:
    return delays[min(count, len(delays)) - 1]


def _at_least(delay: float, retry_after: float | None) -> float:
    return delay if retry_after is None else max(delay, min(retry_after, RETRY_AFTER_CAP))
