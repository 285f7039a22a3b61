"""The manager: decides from the freshness of its token what a caller gets, and launches or joins the one renewal.

Everything that changes the token held is in this file. How it works:

- `token()` on a FRESH token is two clock readings and two comparisons: no lock, no task, nothing that suspends.
- In every other state the decision is made synchronously, in `_token_when_not_fresh`; there is no await between
  looking at the state and launching or joining a flight, so no two callers can both launch one, and no lock is needed.
- A flight (`_flight.py`) belongs to the manager. It asks the source, publishes the token in memory and wakes its
  waiters, in this order and without an await in between: whoever was woken finds the token, and a rotated refresh
  token is kept even when nobody waits for it any more.
- A failure is remembered (`_backoff.py`) and shared: one attempt, one warning, however many callers there are.

By which grant a token is asked for is in `_grants.py`; HTTP and Nexudus are behind its `TokenSource`.
"""

import asyncio
import dataclasses
import math
import os
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random

import anyio

from ._backoff import Backoff
from ._clock import Clock, SystemClock
from ._events import (
    Event,
    Grant,
    Listener,
    RefreshFailed,
    Statistics,
    TokenObtained,
    TokenRejected,
    check_listener,
    deliver,
    logger,
)
from ._flight import Flight
from ._grants import Grants, Obtained, TokenSource
from ._lifecycle import Freshness, Held, RefreshPolicy, age_of, schedule
from ._token import Token
from .errors import (
    ConfigurationError,
    EndpointUnavailableError,
    LoginRequiredError,
    MalformedResponseError,
    NexudusAuthError,
    SessionClosedError,
    as_auth_error,
    copy_of,
)

__all__ = ["TokenManager", "TokenSource"]

_SERVABLE = (Freshness.FRESH, Freshness.ADVISORY, Freshness.MANDATORY)
_MAX_ROUNDS = 3
"""How often a caller waits for a token that has expired by the time the caller runs, before it is told so."""


class TokenManager:
    """Holds the token of one account and renews it, shared by any number of tasks of one event loop.

    source: where tokens come from.
    policy: when to renew and how long to wait.
    clock: the time; the system's by default.
    random: a `random.Random`, or a function that returns numbers from 0 to 1, for jitter.
    on_event: called with each event, on the event loop, after those who waited.

    Making one does no I/O and needs no event loop; it belongs to the first loop that uses it. Raises
    `ConfigurationError` on use from another loop or after a fork.
    """

    def __init__(
        self,
        source: TokenSource,
        *,
        policy: RefreshPolicy | None = None,
        clock: Clock | None = None,
        random: Random | Callable[[], float] | None = None,
        on_event: Listener | None = None,
    ) -> None:
        check_listener(on_event)
        self._policy = policy or RefreshPolicy()
        self._clock = clock or SystemClock()
        self._grants = Grants(source, self._policy, self._clock)
        self._monotonic, self._wall = self._clock.monotonic, self._clock.wall
        self._chance = random if callable(random) else (random or Random()).random  # noqa: S311 - jitter is no secret
        self._listener = on_event
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._held: Held | None = None
        self._fresh: Token
        self._fresh_monotonic = self._fresh_wall = -math.inf
        self._flight: Flight[Token] | None = None
        self._backoff = Backoff()
        self._closed = False
        self._generation = 0
        self._logouts = 0
        self._obtained: dict[Grant, int] = {"password": 0, "refresh_token": 0}
        self._failures = self._rejections = 0

    async def token(self) -> Token:
        """Return a token that has not expired.

        At once while it is FRESH or ADVISORY (then one renewal runs in the background); at most
        `RefreshPolicy.mandatory_wait` later while it is MANDATORY; else when the shared sign-in or renewal is done.
        Raises `SessionClosedError`, `ConfigurationError`, or what the sign-in or renewal raised: each caller gets an
        error object of its own. Cancelling affects nobody else, and the renewal goes on.
        """
        # The hot path. The first comparison keeps other loops and the first use out; the others are the freshness.
        if (
            asyncio.get_running_loop() is self._loop
            and self._monotonic() < self._fresh_monotonic
            and self._wall() < self._fresh_wall
        ):
            return self._fresh
        return await self._token_when_not_fresh()

    def current(self) -> Token | None:
        """Return the token if it is FRESH, else None. Never waits and starts nothing."""
        if self._monotonic() < self._fresh_monotonic and self._wall() < self._fresh_wall:
            return self._fresh
        return None

    async def refresh(self) -> Token:
        """Renew now, or join the renewal under way, whatever the token's age and any back-off.

        Raises and behaves on cancelling as `token()`.
        """
        self._check_usable()
        return await self._launch(forced=True).wait()

    async def reject(self, token: Token) -> Token | None:
        """Report that the API refused `token` with 401, and return one to try instead, or None.

        If `token` was replaced already, the newer one is returned and nothing is renewed; otherwise one renewal is
        shared by all who report the same token. None: back-off forbids a renewal now, or the session was logged out;
        the 401 is then the caller's answer. Raises and behaves on cancelling as `token()`.
        """
        successor = self.successor_of(token)
        return None if successor is None else await successor()

    def successor_of(self, rejected: Token) -> Callable[[], Awaitable[Token]] | None:
        """Decide what `reject` waits for, and start it, without waiting: call and await the result. None: nothing."""
        self._check_usable()
        self._rejections += 1
        renewal = self._renewal_of(rejected)
        self._emit(lambda: TokenRejected(generation=rejected.generation, renewal=renewal is not None))
        if renewal is not None:
            return renewal.wait
        return self.token if self._is_replaced(rejected) else None

    def would_force(self, rejected: Token) -> bool:
        """Tell whether `reject` would launch a renewal: the token is the newest, none is under way, none forbidden."""
        under_way = self._flight is not None and not self._flight.landed
        return not (self._closed or self._held is None or self._is_replaced(rejected) or under_way or self._holds_off())

    @property
    def clock(self) -> Clock:
        """The clock that all decisions are made by."""
        return self._clock

    @property
    def freshness(self) -> Freshness:
        """The state of the token, computed now."""
        if self._closed:
            return Freshness.CLOSED
        if self._held is None:
            return Freshness.EMPTY
        return self._held.freshness(self._monotonic(), self._wall())

    def statistics(self) -> Statistics:
        """Return counters and the present state, without secrets."""
        held = self._held
        return Statistics(
            generation=held.token.generation if held else 0,
            expires_in=self._remaining(held) if held else None,
            retry_in=self._backoff.retry_in(self._monotonic()),
            waiting=self._flight.waiting if self._flight else 0,
            sign_ins=self._obtained["password"],
            renewals=self._obtained["refresh_token"],
            failures=self._failures,
            rejections=self._rejections,
        )

    async def logout(self) -> None:
        """Forget the tokens, and end a sign-in or renewal under way.

        Nexudus documents no revocation: the service is not told. Those who wait get `LoginRequiredError`; the next
        call of `token()` signs in again. Cancelling leaves the session logged out.
        """
        self._check_usable()
        self._logouts += 1
        self._held = None
        self._stop_serving()
        self._backoff = Backoff()
        if (flight := self._flight) is not None:
            flight.fail(LoginRequiredError("the session was logged out while this call waited for a token"))
            flight.cancel()
            await flight.until_ended()

    async def close(self) -> None:
        """End every wait with `SessionClosedError`, and let a running renewal commit for `close_timeout` seconds.

        May be called again, and by several tasks at once. Cancelled itself, it leaves the manager closed and nothing
        running.
        """
        self._closed = True
        self._stop_serving()
        flight = self._flight
        if flight is None or flight.ended or self._loop is not asyncio.get_running_loop():
            return
        flight.fail(SessionClosedError("the session was closed while this call waited for a token"))
        try:
            await flight.until_ended(self._policy.close_timeout)
        finally:
            flight.cancel()
        await flight.until_ended()

    def __repr__(self) -> str:
        held = self._held
        parts = [self.freshness.value]
        if held is not None:
            parts.append(f"generation {held.token.generation}, {self._remaining(held):.0f} s left")
        if self._flight is not None:
            parts.append(f"renewing, {self._flight.waiting} waiting")
        if (pause := self._backoff.retry_in(self._monotonic())) > 0:
            parts.append(f"holding off for {pause:.0f} s after {self._backoff.failures} failures")
        return f"<{type(self).__name__} {', '.join(parts)}>"

    # What a caller gets

    async def _token_when_not_fresh(self) -> Token:
        for _ in range(_MAX_ROUNDS):
            self._check_usable()
            state, held = self.freshness, self._held
            if held is not None and state is Freshness.FRESH:
                return held.token
            error = self._holds_off()
            if held is not None and state in _SERVABLE and (error is not None or state is Freshness.ADVISORY):
                if error is None:
                    self._launch()
                return held.token
            if error is not None:
                raise copy_of(error) from error
            if state is Freshness.MANDATORY:
                await self._wait_a_little(self._launch())
            else:
                await self._launch().wait()
            if self.freshness in _SERVABLE and self._held is not None:
                return self._held.token
        raise EndpointUnavailableError("tokens expire before they can be used: is the service's expires_in too short?")

    async def _wait_a_little(self, flight: Flight[Token]) -> None:
        """Wait for the flight, but not for long and not for its error: the token held is still good."""
        logouts = self._logouts
        with anyio.move_on_after(self._policy.mandatory_wait):
            try:
                await flight.wait()
            except NexudusAuthError:
                self._check_usable()  # closed meanwhile: that is for the caller to know
        if logouts != self._logouts:  # else this call would sign in again, which nobody asked for
            raise LoginRequiredError("the session was logged out while this call waited for a token")

    def _is_replaced(self, token: Token) -> bool:
        return self._held is not None and self._held.token.generation != token.generation

    def _renewal_of(self, rejected: Token) -> Flight[Token] | None:
        if self._flight is not None and not self._flight.landed and not self._is_replaced(rejected):
            return self._flight
        return self._launch() if self.would_force(rejected) else None

    def _holds_off(self) -> NexudusAuthError | None:
        """Return the failure that forbids another attempt now."""
        return self._backoff.in_force(self._monotonic(), served=self.freshness in _SERVABLE)

    def _check_usable(self) -> None:
        if self._closed:
            raise SessionClosedError("the session is closed: make a new one")
        loop, pid = asyncio.get_running_loop(), os.getpid()
        if self._loop is None:
            self._loop, self._pid = loop, pid
        if loop is not self._loop or pid != self._pid:
            raise ConfigurationError(
                "this session belongs to another event loop, or to the process before a fork: make one session for "
                "each loop and process, inside its main coroutine"
            )

    # The flight

    def _launch(self, *, forced: bool = False) -> Flight[Token]:
        """Return the flight under way, or launch one. No await: the look and the launch are one step."""
        flight = self._flight
        if flight is None or flight.landed:
            flight = self._flight = Flight(partial(self._fly, forced=forced), after=flight)
            flight.start()
        return flight

    async def _fly(self, flight: Flight[Token], *, forced: bool) -> None:
        logouts, started = self._logouts, self._monotonic()
        try:
            held, refused = self._held, None if forced or not self._backoff.latched else self._backoff.rejection
            token = held.token if held is not None else None
            obtained = await self._grants.obtain(token, on_spent=self._drop_refresh_token, refused=refused)
        except Exception as exc:  # noqa: BLE001 - a source is foreign code: whatever it raises is a failed renewal
            if logouts == self._logouts:
                self._on_failure(flight, exc)
        else:
            if logouts == self._logouts:  # a source may finish although it was cancelled by logout()
                self._on_token(flight, obtained, started)
        finally:
            if self._flight is flight:  # a later flight may be waiting for this one to end
                self._flight = None

    def _drop_refresh_token(self) -> None:
        if self._held is not None:
            without = dataclasses.replace(self._held.token, refresh_token=None)
            self._held = dataclasses.replace(self._held, token=without)

    def _on_token(self, flight: Flight[Token], obtained: Obtained, started: float) -> None:
        """Publish the token, then wake the waiters, then tell: in one step, so that nobody can see a part of it."""
        now, wall, waiters = self._monotonic(), self._wall(), flight.waiting
        self._generation += 1
        token = dataclasses.replace(obtained.token, generation=self._generation)
        age = age_of(token, wall, now - obtained.asked, wall - obtained.asked_wall)
        plan = schedule(self._policy, token.lifetime, self._chance())
        held = Held(token, plan, sent_monotonic=now - age, sent_wall=wall - age)
        if held.freshness(now, wall) is Freshness.EXPIRED:
            self._keep_chain(held)
            self._on_failure(flight, MalformedResponseError("the token had expired before it arrived"))
            return
        self._held = held
        self._obtained[obtained.grant] += 1
        self._backoff = Backoff()
        self._start_serving(held)
        flight.succeed(token)
        logger.debug("token %d obtained by %s grant, for %.0f s", token.generation, obtained.grant, token.lifetime)
        self._emit(
            lambda: TokenObtained(
                grant=obtained.grant,
                generation=token.generation,
                lifetime=token.lifetime,
                client_id=token.client_id,
                duration=now - started,
                waiters=waiters,
            )
        )

    def _keep_chain(self, expired: Held) -> None:
        """Keep the refresh token of a token that is of no other use; the access token held may still be good."""
        chain = expired.token
        if self.freshness not in _SERVABLE or self._held is None:
            self._held = expired
            self._start_serving(expired)  # not the one before: a clock that is set right may make it look fresh
            return
        token = dataclasses.replace(self._held.token, refresh_token=chain.refresh_token, client_id=chain.client_id)
        self._held = dataclasses.replace(self._held, token=token)

    def _on_failure(self, flight: Flight[Token], cause: Exception) -> None:
        error = as_auth_error(cause, "the token source")
        served = self.freshness in _SERVABLE
        self._failures += 1
        delay = self._backoff.failed(error, self._monotonic(), served=served, chance=self._chance())
        failures = self._backoff.failures
        flight.fail(error)
        logger.warning("no new token: %s; next attempt in %.0f s at the earliest", error, delay)
        self._emit(lambda: RefreshFailed(error=error, failures=failures, retry_in=delay, served=served))

    def _start_serving(self, held: Held) -> None:
        if not self._closed:
            self._fresh = held.token
            self._fresh_monotonic = held.sent_monotonic + held.schedule.refresh_after
            self._fresh_wall = held.sent_wall + held.schedule.refresh_after

    def _stop_serving(self) -> None:
        self._fresh_monotonic = self._fresh_wall = -math.inf

    def _remaining(self, held: Held) -> float:
        return max(0.0, held.schedule.lifetime - held.elapsed(self._monotonic(), self._wall()))

    def _emit(self, event: Callable[[], Event]) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().call_soon(deliver, self._listener, event())
