"""What a 401 does, all of it; asked once for each 401, for the session and for the middleware alike.

A 401 counts only if our header was on the request that was answered. Then it leads to one refresh, shared with everyone
who was refused with the same token, and to one replay, if the request can be sent again. The second 401 is the caller's
to see; so is the first one of a request that cannot be sent again, whose refresh helps the next call.

Nexudus answers 401 for a missing permission, too. A refresh whose replay is refused again was futile: that method and
path (its shape: numeric segments are one) force no other for a minute, then two, up to a quarter of an hour; and while
no forced refresh has helped, all other paths together force one a minute at most. Else a worker that polls something it
may not see would refresh with every poll.

A token that has worked somewhere before its replay was refused may have died in between, which is no permission: then
the verdict waits for the next answer to that token. If it works elsewhere, the refresh was futile; if not, it is dead.
"""

import math
import re
from collections import OrderedDict
from typing import Final

from yarl import URL

from nexudus_async._ratelimit.retry_after import THROTTLED
from nexudus_async._refresh.coordinator import Coordinator, Successor
from nexudus_async._token import Token

UNAUTHORIZED: Final = 401
SERVER_ERROR: Final = 500
"""From this status on an answer says nothing about the token: it may not have been looked at."""
FIRST_PAUSE: Final = 60.0
LONGEST_PAUSE: Final = 900.0
"""Seconds for which a method and path force no refresh, after the first futile one and at most: a worker that polls
costs few refreshes so, and a permission that is granted is found out within a quarter of an hour."""
PAUSE_OF_OTHERS: Final = 60.0
"""Seconds between two forced refreshes of all other paths, while none has helped: they may all be forbidden."""
_NUMBER: Final = r"/[0-9]+(?=/|$)"
MAX_PATHS: Final = 1024
"""Methods and paths remembered at once, so that memory is bounded; the one refused longest ago is forgotten first."""


class Unauthorized:
    """Decides for the requests of one manager. Everything here is synchronous, up to the wait for another token."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._breaker = CircuitBreaker()
        self._worked: Token | None = None
        """The token that the API has accepted last, whatever came after."""
        self._suspect: tuple[Token, str, str] | None = None
        """A token that had worked, and the method and path where its replay was refused."""
        self._refused_at: tuple[str, str] | None = None
        """The method and path where the token held was refused last."""

    def accepted(self, token: Token, status: int) -> None:
        """Learn that the API has answered something else than 401 to a token that is not yet the state's `proven`."""
        if status >= SERVER_ERROR or status in THROTTLED:
            return
        self._worked = token
        state = self._coordinator.state
        if state.accepted(token) and self._refused_at is not None:
            self._breaker.refused(*self._refused_at, token.generation, state.monotonic())
        if self._suspect is not None and self._suspect[0] is token:
            _, method, path = self._suspect
            self._suspect = None
            self._breaker.refused(method, path, token.generation, state.monotonic())

    def replay_of(self, token: Token, method: str, url: URL, *, carried: bool, replayable: bool) -> "Replay | None":
        """Decide what a 401 to a request with `token` leads to, and begin it.

        carried: whether our header was on the request that was answered. replayable: whether it can be sent again.
        None: the 401 is the caller's answer. Raises `SessionClosedError` and `ConfigurationError`, and again what has
        kept us from a successor of this token.
        """
        if not carried:
            return None
        self._coordinator.state.doubted()
        coordinator, path = self._coordinator, shape_of(url)
        if coordinator.at_rest_with(token):
            if not self._may_count(token, method, path, replayable=replayable):
                coordinator.check_not_refused(token)
                return None
            self._refused_at = method, path
        successor = coordinator.after_rejection(token)
        return None if successor is None or not replayable else Replay(self, successor, method, path)

    def _may_count(self, token: Token, method: str, path: str, *, replayable: bool) -> bool:
        """Tell whether this 401 may say something about the token: not where it is known for a permission."""
        now = self._coordinator.state.monotonic()
        if not self._coordinator.would_force(token):
            return not self._breaker.is_open(method, path, now)
        allowed = self._breaker.allow(method, path, token.generation, now)
        if allowed and not replayable:
            self._breaker.unproven(method, path, token.generation, now)
        return allowed

    def replayed(self, token: Token, method: str, path: str, status: int) -> None:
        """Learn from the answer to the replay with `token`."""
        if status != UNAUTHORIZED:
            self._breaker.helped(method, path)
        elif self._worked is token:
            self._coordinator.state.doubted()
            self._suspect = (token, method, path)
        else:
            self._breaker.refused(method, path, token.generation, self._coordinator.state.monotonic())


def shape_of(url: URL) -> str:
    """Return the path without what tells one thing from another of its kind: `/coworkers/17` is `/coworkers/0`."""
    return re.sub(_NUMBER, "/0", url.raw_path)


class Replay:
    """One replay: wait for its token, send, and tell how it was answered."""

    __slots__ = ("_method", "_path", "_successor", "_unauthorized")

    def __init__(self, unauthorized: Unauthorized, successor: Successor, method: str, path: str) -> None:
        self._unauthorized, self._successor, self._method, self._path = unauthorized, successor, method, path

    async def token(self) -> Token:
        """Return the token to replay with. Raises what `TokenManager.token` raises."""
        return await self._successor()

    def answered(self, token: Token, status: int) -> None:
        """Learn the status that the replay with `token` was answered with."""
        self._unauthorized.replayed(token, self._method, self._path, status)


class _Refusal:
    """What is known of one method and path.

    generation: the youngest that was refused there. until: when it may force again, after a pause of `pause`.
    watched_until: before then, a 401 for a younger generation shows that an unproven refresh did not help.
    """

    __slots__ = ("generation", "pause", "until", "watched_until")

    def __init__(self) -> None:
        self.generation, self.pause = 0, 0.0
        self.until = self.watched_until = -math.inf


class CircuitBreaker:
    """Open, for a method and path, after a refresh that did not help: then no 401 there forces another for a while.

    Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._refusals: OrderedDict[tuple[str, str], _Refusal] = OrderedDict()
        self._no_help = False
        """Whether the last forced refresh whose use is known did not help, or one is still unproven."""
        self._next_of_others = -math.inf

    def allow(self, method: str, path: str, generation: int, now: float) -> bool:
        """Tell whether a 401 for a token of `generation` may force a refresh; yes counts it as forced."""
        known = self._refusals.get((method, path))
        if known is not None:
            if known.generation < generation and now < known.watched_until:
                self.refused(method, path, generation, now)
            if now < known.until:
                return False
        if self._no_help:
            if now < self._next_of_others:
                return False
            self._next_of_others = now + PAUSE_OF_OTHERS
        return True

    def is_open(self, method: str, path: str, now: float) -> bool:
        """Tell whether this method and path rests."""
        known = self._refusals.get((method, path))
        return known is not None and now < known.until

    def unproven(self, method: str, path: str, generation: int, now: float) -> None:
        """Note that `generation` is being refreshed for a body that cannot be sent again: nobody sees if it helps."""
        refusal = self._keep(method, path)
        refusal.generation, refusal.watched_until = generation, now + FIRST_PAUSE
        self._no_help = True

    def refused(self, method: str, path: str, generation: int, now: float) -> None:
        """Note that the successor, of `generation`, was refused too, or again. Many who shared it count once."""
        refusal = self._keep(method, path)
        self._no_help = True
        if generation > refusal.generation or (generation == refusal.generation and now >= refusal.until):
            refusal.generation = generation
            refusal.pause = min(max(FIRST_PAUSE, 2 * refusal.pause), LONGEST_PAUSE)
            refusal.until = now + refusal.pause

    def helped(self, method: str, path: str) -> None:
        """Note that the successor was accepted: the token had been the trouble."""
        self._refusals.pop((method, path), None)
        self._no_help = False

    def _keep(self, method: str, path: str) -> _Refusal:
        key = (method, path)
        refusal = self._refusals.setdefault(key, _Refusal())
        self._refusals.move_to_end(key)
        if len(self._refusals) > MAX_PATHS:
            self._refusals.popitem(last=False)
        return refusal
