"""What happened, as data: events for a listener, and counters.

An event is named in the past tense, holds no secret, and is made only when somebody listens. Listeners are called on
the event loop; of a token, or that there is none, they hear after everyone who waited has been woken. They must not
block: that would hold up everything else. What they raise is logged and goes no further.

What fails again and again is an event each time, and a line in the log ever more rarely: `Emitter.warn`.
"""

import asyncio
import inspect
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from ._clock import Clock, SystemClock
from ._value import Value
from .errors import ConfigurationError, NexudusAuthError, StoreError

__all__ = [
    "Event",
    "Listener",
    "PacingFailed",
    "RefreshFailed",
    "Statistics",
    "StoreFailed",
    "Throttled",
    "TokenAdopted",
    "TokenObtained",
    "TokenRejected",
]

logger = logging.getLogger("nexudus_async")
logger.addHandler(logging.NullHandler())  # or a program without logging would get the warnings on standard error

ACCOUNT_FIELD = "nexudus_account"
"""The field of a log record that names the account, for logs that are searched by fields."""
SILENCE_FIRST, SILENCE_LAST = 30.0, 3600.0
"""Seconds without another line of the same failure: doubling from the first to the last."""

Grant = Literal["password", "refresh_token", "exchange"]
"""How a token was asked for: RFC 6749, sections 4.3 and 6, or Nexudus' exchange of a one-time JWT."""


Reason = Literal["empty", "advisory", "mandatory", "expired", "requested", "rejected"]
"""Why: the state of the token that a caller met, `refresh()`, or a 401."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Event(Value):
    """Root of all events. account: whose tokens they are about: a hash, or the label that a session was given."""

    account: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class TokenObtained(Event):
    """A sign-in or a refresh succeeded.

    grant: how it was asked for. reason: why.
    generation, lifetime, client_id: the token's own.
    duration: seconds from the start of the flight to the token.
    waiters: how many calls were waiting for it.
    """

    grant: Grant
    reason: Reason
    generation: int
    lifetime: float
    client_id: str | None
    duration: float
    waiters: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class RefreshFailed(Event):
    """A sign-in or a refresh failed.

    error: the cause; its text is safe to show. reason: why a token was asked for.
    duration: seconds from the start of the flight to the failure.
    failures: how many have failed since the last success, this one included.
    retry_in: seconds until the next attempt may be made.
    served: whether a token is still good, so that nobody notices.
    """

    error: NexudusAuthError
    reason: Reason
    duration: float
    failures: int
    retry_in: float
    served: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class TokenRejected(Event):
    """The API answered 401 to a token that should be good.

    generation: of the token that was refused.
    renewal: whether it led to a refresh: not when a newer token was there, or when back-off forbids one.
    """

    generation: int
    renewal: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Throttled(Event):
    """The API throttled a request. It will be sent again, unless its body cannot be.

    status: 409 or 429. wait: seconds that it waits. All other requests wait as well where it is the first, and where
        the answer asked for 2 s or more; else they go on, at the rate that was learnt.
    attempt: which replay of this request it leads to, from 1.
    method, path: of the request that was throttled, without its query.
    """

    status: int
    wait: float
    attempt: int
    method: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class PacingFailed(Event):
    """The budget that a fleet shares in Redis cannot be read; requests go out unpaced.

    error: the name of what Redis, or its client, raised. pause: seconds until it is tried again.
    """

    error: str
    pause: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class TokenAdopted(Event):
    """A token that another process obtained was taken from the store, or one that was handed over came into use.

    generation: its own. expires_in: seconds it still lives.
    """

    generation: int
    expires_in: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class StoreFailed(Event):
    """The token store could not be used; requests go on without it.

    operation: "load", "save", "lock", "unlock", "server" or "disconnect". error: the cause; its text is safe to show.
    """

    operation: str
    error: StoreError


Listener = Callable[[Event], None]
"""What `on_event` takes: a plain function of one event, called on the event loop, which it must not block.

What it raises is logged and goes no further. It hears of a token when those who waited for it have been woken.
"""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Statistics(Value):
    """A snapshot of a manager or a session: counts since it was made, and its state now.

    sign_ins: password grants, and exchanges of a one-time JWT, that succeeded. renewals: refresh grants.
    adoptions: tokens taken from the store, or handed over.
    failures: flights that failed, and refresh tokens refused. unsaved: 1 while the store lacks the newest token.
    rejections: calls of `reject`. refused: whether the API has refused the token held, and no other is to be had.
    waiting: calls that wait for a flight now.
    generation: of the token held, 0 for none. expires_in: seconds left of the token held, None for none.
    retry_in: seconds that back-off still holds, 0 for none.

    Of a session only: throttled: answers whose pause was kept. paused_for: seconds that the pause in force still
    lasts, 0 for none. queued: requests that wait for its end, or for their turn. rate: requests per second that the API
    lets through, as learnt from throttled answers; None: not learnt.
    """

    generation: int
    expires_in: float | None
    retry_in: float
    waiting: int
    sign_ins: int
    renewals: int
    adoptions: int
    unsaved: int
    failures: int
    rejections: int
    refused: bool
    throttled: int = 0
    paused_for: float = 0.0
    queued: int = 0
    rate: float | None = None


class Outage:
    """Something that fails again and again: tells when the log is to have another line of it.

    It has one when the failures begin, then ever more rarely, and one when they are over. What fails again soon after
    that goes on where it was: a thing that fails every other time would fill a log, too.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[str, tuple[float, float, int]] = {}
        """For each kind of failure: when the log had a line of it, for how long no other, how many it left out."""
        self._since: float | None = None
        self._failures = 0
        self._spoke = False

    def due(self, kind: str) -> str | None:
        """Count a failure; return None where the log leaves it out, else words to add: how many it left out before."""
        now = self._clock.monotonic()
        begins = self._since is None
        if self._since is None:
            self._since, self._failures, self._spoke = now, 0, False
        self._failures += 1
        at, pause, left_out = self._told.get(kind, (-math.inf, 0.0, 0))
        if now < at + pause:
            self._told[kind] = at, pause, left_out + 1
            return None
        anew = not pause or (begins and not left_out)
        pause = SILENCE_FIRST if anew else min(2 * pause, SILENCE_LAST)
        self._told[kind], self._spoke = (now, pause, 0), True
        return f" ({left_out} more since the last such line)" if left_out else ""

    def ended(self) -> tuple[float, int] | None:
        """It works again: return the seconds it lasted and the failures, None where there is nothing to tell."""
        if self._since is None:
            return None
        lasted, self._since = self._clock.monotonic() - self._since, None
        return (lasted, self._failures) if self._spoke else None


class Emitter:
    """Tells one listener, or nobody, and the log. account: what events and log lines call the account."""

    def __init__(self, listener: Listener | None, account: str = "", clock: Clock | None = None) -> None:
        check_listener(listener)
        self._listener, self.account, self._clock = listener, account, clock or SystemClock()
        self._outages: dict[str, Outage] = {}

    def emit(self, event: Callable[[], Event]) -> None:
        """Tell the listener, if there is one; `event` is called only then."""
        if self._listener is not None:
            deliver(self._listener, replace(event(), account=self.account), lambda kind: self._due("listener", kind))

    def log(self, level: int, words: str, *arguments: object) -> None:
        """Log a line about the account. The record has the account as a field of its own, too: `nexudus_account`."""
        logger.log(level, f"%s: {words}", self.account, *arguments, extra={ACCOUNT_FIELD: self.account}, stacklevel=2)

    def warn(self, what: str, kind: str, words: str, *arguments: object) -> None:
        """Log a warning that `what` fails; for debugging only, where the log had one of its `kind` not long ago."""
        more = self._due(what, kind)
        level = logging.DEBUG if more is None else logging.WARNING
        self.log(level, f"{words}%s", *arguments, more or "")

    def works(self, what: str, words: str) -> None:
        """Log that `what` works again, where the log has said that it does not."""
        if what in self._outages and (ended := self._outages[what].ended()) is not None:
            self.log(logging.WARNING, "%s, after %.0f s (failures: %d)", words, *ended)

    def _due(self, what: str, kind: str) -> str | None:
        if what not in self._outages:
            self._outages[what] = Outage(self._clock)
        return self._outages[what].due(kind)


def check_listener(listener: Listener | None) -> None:
    """Raise `ConfigurationError` for a listener that could never work."""
    if listener is None:
        return
    if not callable(listener):
        raise ConfigurationError(f"on_event must be a function of one event, not {type(listener).__name__}")
    if any(map(inspect.iscoroutinefunction, (listener, getattr(listener, "__call__", None)))):  # noqa: B004 - not whether
        raise ConfigurationError("on_event must be a plain function; start a task in it for anything that waits")


def deliver(listener: Listener, event: Event, due: Callable[[str], str | None] = lambda _kind: "") -> None:
    """Call the listener; what it raises is logged and dropped. An end of the program is raised in the loop, later.

    due: tells whether the log is to have a line of it, as `Outage.due`.
    """
    try:
        listener(event)
    except (KeyboardInterrupt, SystemExit) as exc:  # not in the middle of a refresh, whose token is not saved yet
        asyncio.get_running_loop().call_soon(_raise, exc)
    except BaseException as exc:  # noqa: BLE001 - foreign code, which must not break a refresh
        who, kind, name = f"{event.account}: " if event.account else "", type(exc).__name__, type(event).__name__
        if (more := due(f"{kind} on {name}")) is not None:
            extra = {ACCOUNT_FIELD: event.account}
            logger.error("%sthe listener raised %s on %s%s", who, kind, name, more, extra=extra)


def _raise(error: BaseException) -> None:
    raise error
