"""The token held, and all that is remembered of it: every change is made in this file, and nothing here waits.

The facts are the token with its place in time, the highest generation seen, the epoch, what the API refused, the
failures since the last success, and whether the session is closed. What follows from them (the freshness, what
back-off forbids) is computed when it is asked for, so that it cannot disagree with them.

What happens to a token is a method below. Each is one step, returns what came of it, and keeps these rules:

1. The generation only grows: a new token has one more than all that was seen, be it in this process or in the store.
2. A logout begins an epoch. What was begun in an earlier epoch changes nothing any more.
3. Tokens are compared, not clocks: a refusal counts for the token that was refused, and not for its successor.
4. A token that has expired replaces no living one; its refresh token does, because the service has ended the old one.
5. A refresh token that was refused, or that a higher generation shows to be spent, is dropped; the access token beside
   it is kept as long as it lives.
6. A failure forbids further attempts for a while; a success, of this process or another, ends that at once.
7. A token is refused when the API refused it, and its successor could not be had. Another token ends that, or an answer
   of the API to it that is not 401.
8. Closed is for ever: a token may still arrive and be saved, and is served to nobody.

`fresh`, `fresh_monotonic` and `fresh_wall` repeat what follows from the facts, for the one comparison of the hot path.
"""

import asyncio
import dataclasses
import math
import os
import weakref
from threading import get_ident

from nexudus_async._events import Grant
from nexudus_async._token import Token
from nexudus_async.errors import ConfigurationError, NexudusAuthError, SessionClosedError

from .facts import NO_FAILURE, TokenFacts
from .outcomes import Failed, Granted, Obtained, Shared
from .policy import Held, age_of, schedule

ELSEWHERE = (
    "this session belongs to another event loop, or to the process before a fork: make one session for each loop and "
    "process, inside its main coroutine"
)


class TokenState(TokenFacts):
    """The state of one manager."""

    # Whose it is

    def check_usable(self) -> None:
        """Tie the state to the running event loop at its first use; raise on use from elsewhere, or once closed."""
        if self.closed:
            raise SessionClosedError("the session is closed: make a new one")
        if self.forked:  # before the loop is asked for: after a fork there is none, even in the middle of a coroutine
            raise ConfigurationError(ELSEWHERE)
        if get_ident() == self.thread and self.loop_is_running():
            return  # the same loop, without asking for it: that asks the system for the process id (Python 3.11)
        loop = asyncio.get_running_loop()
        if self.loop is None:
            self.loop, self.thread, self.loop_is_running = loop, get_ident(), loop.is_running
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

    def granted(self, obtained: Obtained, *, asked_for_new: bool) -> Granted:
        """The source has given a token: hold it. Back-off ends, unless it has expired on its way.

        asked_for_new: somebody wants a token newer than one that was handed over.
        """
        now, wall = self.monotonic(), self.wall()
        token = dataclasses.replace(obtained.token, generation=self.generation + 1)
        age = age_of(token, wall, now - obtained.asked, wall - obtained.asked_wall)
        good = age < token.lifetime and not (obtained.grant is None and asked_for_new)
        self._take(token, age)
        self.generation = token.generation
        if good:
            self._count(obtained.grant)
            self._backoff = NO_FAILURE
        return Granted(token, good)

    def adopted(self, shared: Shared, *, asked_for_new: bool) -> bool:
        """The store has what another process has left: take it over if it is news; tell whether it is to be served.

        asked_for_new: somebody wants a token newer than the one that a session without any finds there.
        """
        self._heed_logout(shared)
        known, token = self.token, shared.token
        if token is None:
            if known is not None and shared.generation > known.generation:
                self.refresh_token_refused()  # by what we cannot read: somebody has refreshed, or logged out
            return False
        if known is None:
            if shared.generation <= self._logged_out_at:
                return False
        elif token.access_token == known.access_token:  # the token held: no news, even where it was refused, or is due
            if token.generation > known.generation:
                self._replace(token)  # the store has it above a chain that was logged out of
            elif token.refresh_token is None:
                self.refresh_token_refused()  # by another process
            return False
        elif token.generation < known.generation:
            return False
        self._take(token, token.lifetime - shared.life_left)
        if shared.life_left <= 0 or (known is None and asked_for_new):
            return False
        self.adoptions += 1
        self._backoff = NO_FAILURE
        return True

    def seen(self, generation: int) -> None:
        """The store has something of this generation: the next token is above it."""
        self.generation = max(self.generation, generation)

    def refresh_token_refused(self, *, to_us: bool = False) -> None:
        """The refresh token must not be sent again. to_us: the service has said so to this process, a failure."""
        self.failures += to_us
        if self._held is not None:
            self._replace(dataclasses.replace(self._held.token, refresh_token=None))

    def failed(self, error: NexudusAuthError, *, counted: bool) -> Failed:
        """An attempt has failed: forbid others for a while. counted: as a failure, when its refresh was refused."""
        served = self.served
        self.failures += not counted
        chance, at_most = self._chance(), self.longest_pause
        self._backoff = self._backoff.failed(error, self.monotonic(), served=served, chance=chance, at_most=at_most)
        if self._rejected is not None:
            self._no_successor = error
            self._stop_serving_if_refused()
        return Failed(self._backoff.failures, self.retry_in, served)

    def held_off(self, error: NexudusAuthError, seconds: float) -> None:
        """Nothing was sent, because of what is known already: tell callers so, for so long."""
        now = self.monotonic()
        self._backoff = self._backoff.held(error, now + seconds, now, served=self.served)
        if self._rejected is not None:
            self._no_successor = error
            self._stop_serving_if_refused()

    def left_alone(self, seconds: float) -> None:
        """The store is down, or another process at work, and the token good for now: leave it, for so long at most."""
        self._quiet_until = self.monotonic() + seconds * (1 + self._chance()) / 2

    def rejected(self, token: Token) -> None:
        """The API has answered 401 to a token."""
        self.rejections += 1
        self.proven = None
        held = self.token
        if held is not None and not self.replaced(token):
            self._rejected = held
            self._no_successor = self.holds_off or self._no_successor
            self._stop_serving_if_refused()

    def accepted(self, token: Token) -> bool:
        """The API has answered something else to a token; tell whether it had refused it, and there was no other."""
        self.proven = token
        if self._rejected is None or self.replaced(token):
            return False
        was_refused = self.refused is not None
        self._not_rejected()
        return was_refused

    def doubted(self) -> None:
        """The API has answered 401, which may be a permission: the next answer to the token says more."""
        self.proven = None

    def logged_out(self, *, shared: bool) -> None:
        """Forget the token and the failures, and let nothing that is under way change that.

        shared: a store has the token, too, which is not to be adopted again.
        """
        self.epoch += 1
        self._forget()
        self._backoff = NO_FAILURE
        if shared:
            self.generation += 1
        self._logged_out_at = self.generation

    def tombstone_saved(self, generation: int) -> None:
        """The store has a tombstone: what was adopted meanwhile of the chain that it ends is forgotten."""
        if (token := self.token) is not None and token.generation <= generation:
            self._forget()
        self.generation = max(self.generation, generation)
        self._logged_out_at = max(self._logged_out_at, generation)

    def close(self) -> None:
        """Serve nothing any more."""
        self.closed = True
        self._stop_serving()

    def fork(self) -> None:
        """This is a copy in a child process: let nothing here pass for fresh."""
        self.forked = True
        self._stop_serving()

    # The steps

    def _heed_logout(self, shared: Shared) -> None:
        """Count what the store has, and forget the token held where that is the logout that ended its chain."""
        held = self.token
        self.generation = max(self.generation, shared.generation)
        ended = held is not None and (
            (shared.logged_out and held.generation <= shared.generation)
            or (shared.ends is not None and shared.ends == held.client_id)  # held is newer: the store never had it
        )
        if ended:
            self._forget()
        if ended or shared.logged_out:
            self._logged_out_at = self.generation

    def _count(self, grant: Grant | None) -> None:
        if grant is None:
            self.adoptions += 1
        else:
            self.obtained[grant] += 1

    def _take(self, token: Token, age: float) -> None:
        """Hold a token, or, where it has expired and the one held lives, what came with it."""
        if age < token.lifetime or self._held is None or not self.servable:
            self._hold(token, age)
        else:
            kept = self._held.token
            self._replace(dataclasses.replace(kept, refresh_token=token.refresh_token, client_id=token.client_id))

    def _hold(self, token: Token, age: float) -> None:
        plan = schedule(self.policy, token.lifetime, self._chance())
        self._held = Held(token, plan, self.monotonic() - age, self.wall() - age)
        self._rejected = self._no_successor = None
        self._serve(self._held)

    def _serve(self, held: Held) -> None:
        if not self.closed:
            self.fresh = held.token
            self.fresh_monotonic = held.sent_monotonic + held.schedule.refresh_after
            self.fresh_wall = held.sent_wall + held.schedule.refresh_after

    def _replace(self, token: Token) -> None:
        """Hold the same access token, with another refresh token beside it."""
        if self._held is not None:
            self._held = self._held._replace(token=token)
            self.fresh = token

    def _not_rejected(self) -> None:
        self._rejected = self._no_successor = None
        if self._held is not None:
            self._serve(self._held)

    def _stop_serving_if_refused(self) -> None:
        if self.refused is not None:
            self._stop_serving()

    def _forget(self) -> None:
        self._held = self._rejected = self._no_successor = None
        self._stop_serving()

    def _stop_serving(self) -> None:
        self.fresh_monotonic = self.fresh_wall = -math.inf


_in_use: weakref.WeakSet[TokenState] = weakref.WeakSet()


def _after_fork() -> None:
    for state in _in_use:
        state.fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
