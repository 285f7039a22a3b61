"""The token held: everything that changes it is in this file, and nothing here waits.

`fresh`, `fresh_monotonic` and `fresh_wall` repeat what follows from `held`, for the one comparison of the hot path.
"""

import dataclasses
import math
import os
import weakref
from collections.abc import Callable

from nexudus_async._clock import Clock
from nexudus_async._token import Token

from .policy import Freshness, Held, RefreshPolicy, age_of, schedule

__all__ = ["SERVABLE", "TokenHolder"]

SERVABLE = (Freshness.FRESH, Freshness.ADVISORY, Freshness.MANDATORY)
"""The states in which the token has not expired."""


class TokenHolder:
    """Holds the newest token of a chain, with its place in time."""

    def __init__(self, policy: RefreshPolicy, clock: Clock, chance: Callable[[], float]) -> None:
        self._policy, self._chance = policy, chance
        self._monotonic, self._wall = clock.monotonic, clock.wall
        self._closed = False
        self.forked = False
        """Whether this is a copy of one in use, in a child process: the renewal and the sockets are the parent's."""
        self.held: Held | None = None
        self.generation = 0
        """The highest ever seen, of a token or of a logout: the next one is higher."""
        self.fresh: Token
        """The token, while the clock reads less than the two limits below."""
        self.fresh_monotonic = self.fresh_wall = -math.inf

    @property
    def token(self) -> Token | None:
        """The token, fresh or not."""
        return self.held.token if self.held is not None else None

    @property
    def freshness(self) -> Freshness:
        """The state, computed now."""
        if self._closed:
            return Freshness.CLOSED
        if self.held is None:
            return Freshness.EMPTY
        return self.held.freshness(self._monotonic(), self._wall())

    @property
    def servable(self) -> bool:
        """Whether the token has not expired, be the session closed or not."""
        held = self.held
        return held is not None and held.freshness(self._monotonic(), self._wall()) is not Freshness.EXPIRED

    @property
    def remaining(self) -> float | None:
        """Seconds left of the token, None without one."""
        if self.held is None:
            return None
        return max(0.0, self.held.schedule.lifetime - self.held.elapsed(self._monotonic(), self._wall()))

    @property
    def age(self) -> float | None:
        """Seconds since the token was asked for, None without one."""
        return None if self.held is None else self.held.elapsed(self._monotonic(), self._wall())

    def replaced(self, token: Token) -> bool:
        """Tell whether another token than this one is held. Tokens are compared, not clocks."""
        held = self.token
        return held is not None and (held.generation, held.access_token) != (token.generation, token.access_token)

    def watch_for_forks(self) -> None:
        """Let a child process know its copy by `forked`, and have nothing there pass for fresh."""
        _in_use.add(self)

    def put(self, token: Token, asked: float, asked_wall: float) -> tuple[Token, bool]:
        """Hold a new token that was asked for at these readings; return it with its generation, and if it is good.

        One that has expired on its way is good for its refresh token only: a token held that still lives stays.
        """
        now, wall = self._monotonic(), self._wall()
        token = dataclasses.replace(token, generation=self.generation + 1)
        age = age_of(token, wall, now - asked, wall - asked_wall)
        good = age < token.lifetime
        if good or self.held is None or not self.servable:
            self._hold(token, age)
        else:
            self._graft(token)
        self.generation = token.generation
        return token, good

    def put_shared(self, token: Token, life_left: float) -> None:
        """Hold a token of another process, with `life_left` seconds to live."""
        self._hold(token, token.lifetime - life_left)

    def drop_refresh_token(self) -> None:
        """Hold the token without its refresh token, which must not be sent again."""
        if self.held is not None:
            self._replace_token(dataclasses.replace(self.held.token, refresh_token=None))

    def forget(self) -> None:
        """Hold nothing any more."""
        self.held = None
        self.stop_serving()

    def stop_serving(self) -> None:
        """Let nothing pass for fresh without a closer look."""
        self.fresh_monotonic = self.fresh_wall = -math.inf

    def close(self) -> None:
        """Serve nothing any more; a token that is still on its way may be put, and is not served."""
        self._closed = True
        self.stop_serving()

    def _hold(self, token: Token, age: float) -> None:
        plan = schedule(self._policy, token.lifetime, self._chance())
        self.held = Held(token, plan, self._monotonic() - age, self._wall() - age)
        self.generation = max(self.generation, token.generation)
        if not self._closed:
            self.fresh = token
            self.fresh_monotonic = self.held.sent_monotonic + plan.refresh_after
            self.fresh_wall = self.held.sent_wall + plan.refresh_after

    def _graft(self, expired: Token) -> None:
        """Renew the token held by the refresh token of another from now on."""
        if self.held is not None:
            refresh_token, client_id = expired.refresh_token, expired.client_id
            self._replace_token(dataclasses.replace(self.held.token, refresh_token=refresh_token, client_id=client_id))

    def _replace_token(self, token: Token) -> None:
        if self.held is not None:
            self.held = dataclasses.replace(self.held, token=token)
            self.fresh = token


_in_use: weakref.WeakSet[TokenHolder] = weakref.WeakSet()


def _after_fork() -> None:
    for holder in _in_use:
        holder.forked = True
        holder.stop_serving()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
