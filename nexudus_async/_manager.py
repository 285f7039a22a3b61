"""The manager: decides from the freshness of its token what a caller gets, and launches or joins the one renewal.

How it works:

- `token()` on a FRESH token is two clock readings and two comparisons: no lock, no task, nothing that suspends.
- In every other state the decision is made synchronously, in `_token_when_not_fresh`; there is no await between
  looking at the state and launching or joining a flight, so no two callers can both launch one, and no lock is needed.
- A flight (`_flight.py`) belongs to the manager. It runs a renewal (`_renewal.py`), which publishes the token and
  wakes the waiters, in this order and without an await in between: whoever was woken finds the token, and a rotated
  refresh token is kept even when nobody waits for it any more.
- A failure is remembered (`_backoff.py`) and shared: one attempt, one warning, however many callers there are.

The token held is in `_holder.py`; by which grant one is asked for in `_grants.py`; HTTP and Nexudus are behind the
`TokenSource` there.
"""

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random, SystemRandom
from threading import get_ident

import anyio

from ._clock import Clock, SystemClock
from ._events import (
    Event,
    Listener,
    Reason,
    Statistics,
    TokenRejected,
    check_listener,
)
from ._fleet.desk import FlightDesk, Ledger
from ._fleet.renewal import AloneRenewal, SharedRenewal
from ._fleet.saver import Saver
from ._fleet.storage import Chain
from ._refresh.backoff import Backoff, CredentialsRestError
from ._refresh.policy import Freshness, RefreshPolicy
from ._refresh.renewal import Grants, TokenSource
from ._refresh.single_flight import Flight
from ._refresh.state import SERVABLE, TokenHolder
from ._token import Token
from ._validation import check_kind, check_methods
from .errors import (
    ConfigurationError,
    EndpointUnavailableError,
    LoginRequiredError,
    NexudusAuthError,
    SessionClosedError,
    copy_of,
)
from .stores import TokenStore

__all__ = ["TokenManager", "TokenSource"]

_ELSEWHERE = (
    "this session belongs to another event loop, or to the process before a fork: make one session for each loop and "
    "process, inside its main coroutine"
)
_MAX_ROUNDS = 3
"""How often a caller waits for a token that has expired by the time the caller runs, before it is told so."""


class TokenManager:
    """Holds the token of one account and renews it, shared by any number of tasks of one event loop.

    source: where tokens come from.
    store: where the tokens are shared with other processes, and with the next one. Without it they are in memory.
    policy: when to renew and how long to wait.
    clock: the time; the system's by default.
    random: a `random.Random`, or a function that returns numbers from 0 to 1, for jitter.
    on_event: called with each event, on the event loop, when those who waited have been woken; it must not block.

    Making one does no I/O and needs no event loop; it belongs to the first loop that uses it. Raises
    `ConfigurationError` on use from another loop or after a fork.
    """

    def __init__(
        self,
        source: TokenSource,
        *,
        store: TokenStore | None = None,
        policy: RefreshPolicy | None = None,
        clock: Clock | None = None,
        random: Random | Callable[[], float] | None = None,
        on_event: Listener | None = None,
    ) -> None:
        check_methods("source", source, ("login", "refresh"), "a TokenSource")
        if store is not None:
            check_methods("store", store, ("load", "save", "clear", "refresh_lock"), "a TokenStore")
        if clock is not None:
            check_methods("clock", clock, ("monotonic", "wall"), "a Clock")
        check_kind("policy", policy, RefreshPolicy, "a RefreshPolicy")
        check_listener(on_event)
        self._ledger = Ledger(on_event)
        self._key = source.key
        self._policy = policy or RefreshPolicy()
        self._clock = clock or SystemClock()
        self._monotonic, self._wall = self._clock.monotonic, self._clock.wall
        self._chance = random if callable(random) else random.random if random is not None else _chance
        self._holder = TokenHolder(self._policy, self._clock, self._chance)
        self._grants = Grants(source, self._policy, self._clock)
        self._chain: Chain | None = None
        self._saver: Saver | None = None
        self._renewal: AloneRenewal | SharedRenewal = AloneRenewal(self._grants)
        if store is not None:
            self._chain = Chain(store, source.key, self._clock, self._chance, self._ledger.emit)
            self._saver = Saver(self._chain, self._clock, self._chance)
            self._renewal = SharedRenewal(self._grants, self._chain, self._clock)
        self._flight: Flight[Token] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_is_running: Callable[[], bool] = bool
        self._thread = 0
        self._closed = False

    async def token(self) -> Token:
        """Return a token that has not expired.

        At once while it is FRESH or ADVISORY (then one renewal runs in the background); at most
        `RefreshPolicy.mandatory_wait` later while it is MANDATORY; else when the shared sign-in or renewal is done.
        Raises `SessionClosedError`, `ConfigurationError`, or what the sign-in or renewal raised: each caller gets an
        error object of its own. Cancelling affects nobody else, and the renewal goes on.
        """
        # The hot path. The first two conditions keep other loops and the first use out, as `get_running_loop()` would:
        # before Python 3.12 that asks the system for the process id, which takes longer than all the rest. After a
        # fork nothing is fresh. The other two conditions are the freshness.
        holder = self._holder
        if (
            get_ident() == self._thread
            and self._loop_is_running()
            and self._monotonic() < holder.fresh_monotonic
            and self._wall() < holder.fresh_wall
        ):
            return holder.fresh
        return await self._token_when_not_fresh()

    def current(self) -> Token | None:
        """Return the token if it is FRESH, else None. Never waits and starts nothing."""
        holder = self._holder
        if self._monotonic() < holder.fresh_monotonic and self._wall() < holder.fresh_wall:
            return holder.fresh
        return None

    async def refresh(self) -> Token:
        """Renew now, or join the renewal under way, whatever the token's age and any back-off.

        Raises and behaves on cancelling as `token()`.
        """
        self.check_usable()
        return await self._launch("requested").wait()

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
        self.check_usable()
        self._ledger.rejections += 1
        renewal = self._renewal_of(rejected)
        self._ledger.emit(lambda: TokenRejected(generation=rejected.generation, renewal=renewal is not None))
        if renewal is not None:
            return renewal.wait
        return self.token if self._holder.replaced(rejected) else None

    def would_force(self, rejected: Token) -> bool:
        """Tell whether `reject` would launch a renewal: the token is the newest, none is under way, none forbidden."""
        under_way = self._flight is not None and not self._flight.landed
        newest = self._holder.held is not None and not self._holder.replaced(rejected)
        return newest and not (self._closed or under_way or self._holds_off())

    def check_usable(self) -> None:
        """Tie the manager to the running event loop at its first use; raise on use from elsewhere, or once closed."""
        if self._closed:
            raise SessionClosedError("the session is closed: make a new one")
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop_is_running, self._thread = self._loop.is_running, get_ident()
            self._holder.watch_for_forks()
        if get_ident() != self._thread or not self._loop_is_running() or self._holder.forked:
            raise ConfigurationError(_ELSEWHERE)

    def check_closable(self) -> None:
        """Raise where closing would reach into another thread, or into the process before a fork."""
        if self._holder.forked or (self._loop_is_running() and get_ident() != self._thread):
            raise ConfigurationError(_ELSEWHERE)

    @property
    def key(self) -> str:
        """What a store files the tokens under: a hash, which names nobody."""
        return self._key

    @property
    def age(self) -> float | None:
        """Seconds since the token held was asked for; None without one."""
        return self._holder.age

    @property
    def due_in(self) -> float | None:
        """Seconds until the token held is to be renewed, negative when it is due; None without one."""
        held, age = self._holder.held, self._holder.age
        return None if held is None or age is None else held.schedule.refresh_after - age

    def emit(self, event: Callable[[], Event]) -> None:
        """Tell the listener of the manager, if it has one. `event` is called only then."""
        self._ledger.emit(event)

    @property
    def clock(self) -> Clock:
        """The clock that all decisions are made by."""
        return self._clock

    @property
    def freshness(self) -> Freshness:
        """The state of the token, computed now."""
        return self._holder.freshness

    def statistics(self) -> Statistics:
        """Return counters and the present state, without secrets."""
        token, ledger, chain = self._holder.token, self._ledger, self._chain
        return Statistics(
            generation=token.generation if token is not None else 0,
            expires_in=self._holder.remaining,
            retry_in=self._retry_in,
            waiting=self._flight.waiting if self._flight else 0,
            sign_ins=ledger.obtained["password"],
            renewals=ledger.obtained["refresh_token"],
            adoptions=ledger.adoptions,
            unsaved=int(chain is not None and chain.unsaved is not None),
            failures=ledger.failures,
            rejections=ledger.rejections,
        )

    async def logout(self) -> None:
        """Forget the tokens, and end a sign-in or renewal under way.

        Nexudus documents no revocation: the service is not told. Those who wait get `LoginRequiredError`; the next
        call of `token()` signs in again. With a store it waits, up to a minute, for a renewal under way elsewhere.
        Cancelling leaves the session logged out; the other processes are told as soon as the store can take it.
        """
        self.check_usable()
        self._ledger.logouts += 1
        holder, chain = self._holder, self._chain
        token, known = holder.token, holder.generation
        holder.forget()
        if chain is not None:
            holder.generation += 1  # what the store still has is not to be adopted again
            chain.mourn(known, token)
        self._ledger.backoff = Backoff()
        if (flight := self._flight) is not None:
            flight.fail(LoginRequiredError("the session was logged out while this call waited for a token"))
            flight.cancel()
            await flight.until_ended()
        if chain is not None:
            try:
                buried = await chain.bury(known, token)
            finally:
                self._save_later()
            if (token := self._holder.token) is not None and token.generation < buried:
                self._holder.forget()  # adopted meanwhile, of the chain that this logout ends
            self._holder.generation = max(self._holder.generation, buried)

    async def close(self) -> None:
        """End every wait with `SessionClosedError`, and let a running renewal commit for `close_timeout` seconds.

        What a store has not taken yet is offered to it once more. May be called again, and by several tasks at once.
        Cancelled itself, it leaves the manager closed and nothing running. Raises `ConfigurationError`, and closes
        nothing, while another thread's event loop uses it, and after a fork; once that loop has ended it may be called.
        """
        self.check_closable()
        self._closed = True
        self._holder.close()
        if self._loop is not asyncio.get_running_loop():
            return
        flight, saving = self._flight, None
        try:
            with anyio.move_on_after(self._policy.close_timeout):
                if flight is not None:
                    flight.fail(SessionClosedError("the session was closed while this call waited for a token"))
                    await flight.until_ended()
                if self._chain is not None and self._chain.unsaved is not None:
                    await self._chain.save_unsaved()
        finally:
            if self._saver is not None:
                saving = self._saver.end()
            if flight is not None:
                flight.cancel()
        if flight is not None:
            await flight.until_ended()
        if saving is not None:
            await asyncio.wait([saving])
        if self._chain is not None:
            await self._chain.disconnect()

    def __repr__(self) -> str:
        parts, token = [self.freshness.value], self._holder.token
        if token is not None:
            parts.append(f"generation {token.generation}, {self._holder.remaining:.0f} s left")
        if self._flight is not None:
            parts.append(f"renewing, {self._flight.waiting} waiting")
        if (pause := self._retry_in) > 0:
            parts.append(f"holding off for {pause:.0f} s after {self._ledger.backoff.failures} failures")
        return f"<{type(self).__name__} {', '.join(parts)}>"

    def __del__(self) -> None:
        if self.__dict__.get("_loop") is not None and not self._closed and not self._holder.forked:
            warnings.warn(f"unclosed {self!r}: await close()", ResourceWarning, stacklevel=2, source=self)

    # What a caller gets

    async def _token_when_not_fresh(self) -> Token:
        for _ in range(_MAX_ROUNDS):
            self.check_usable()
            state, token = self._holder.freshness, self._holder.token
            if token is not None and state is Freshness.FRESH:
                return token
            error = self._holds_off()
            if token is not None and state in SERVABLE and (error is not None or state is Freshness.ADVISORY):
                if error is None and self._monotonic() >= self._ledger.quiet_until:
                    self._launch("advisory")
                return token
            if error is not None:
                raise copy_of(error) from error
            if state is Freshness.MANDATORY:
                await self._wait_a_little(self._launch("mandatory"))
            else:
                await self._launch("empty" if state is Freshness.EMPTY else "expired").wait()
            if (fresh := self.current()) is not None:  # what a herd of waiters finds
                return fresh
            if (token := self._holder.token) is not None and self._holder.servable:
                return token
        raise EndpointUnavailableError("tokens expire before they can be used: is the service's expires_in too short?")

    async def _wait_a_little(self, flight: Flight[Token]) -> None:
        """Wait for the flight, but not for long and not for its error: the token held is still good."""
        logouts = self._ledger.logouts
        with anyio.move_on_after(self._policy.mandatory_wait):
            try:
                await flight.wait()
            except NexudusAuthError:
                self.check_usable()  # closed meanwhile: that is for the caller to know
        if logouts != self._ledger.logouts:  # else this call would sign in again, which nobody asked for
            raise LoginRequiredError("the session was logged out while this call waited for a token")

    def _renewal_of(self, rejected: Token) -> Flight[Token] | None:
        if self._flight is not None and not self._flight.landed and not self._holder.replaced(rejected):
            return self._flight
        return self._launch("rejected") if self.would_force(rejected) else None

    def _holds_off(self) -> NexudusAuthError | None:
        """Return the failure that forbids another attempt now."""
        backoff = self._ledger.backoff
        if backoff.error is None:  # the common answer costs a herd that signs in no look at the clock
            return None
        return backoff.in_force(self._monotonic(), served=self._holder.servable)

    @property
    def _retry_in(self) -> float:
        """Seconds that back-off still holds, 0 for none."""
        return self._ledger.backoff.retry_in(self._monotonic(), served=self._holder.servable)

    # The flight

    def _launch(self, reason: Reason) -> Flight[Token]:
        """Return the flight under way, or launch one. No await: the look and the launch are one step."""
        flight = self._flight
        if flight is None or flight.landed:
            work = partial(self._fly, reason=reason, forced=reason == "requested")
            flight = self._flight = Flight(work, after=flight)
            flight.start()
        return flight

    async def _fly(self, flight: Flight[Token], *, reason: Reason, forced: bool) -> None:
        desk = FlightDesk(flight, self._holder, self._ledger, self._clock, self._chance, reason=reason)
        try:
            await self._renewal.run(desk, forced=forced)
        except CredentialsRestError as resting:
            desk.rest(resting)
        except Exception as exc:  # noqa: BLE001 - a source is foreign code: whatever it raises is a failed renewal
            desk.fail(exc)
        finally:
            if self._flight is flight:  # a later flight may be waiting for this one to end
                self._flight = None
            self._save_later()

    def _save_later(self) -> None:
        if self._saver is not None and not self._closed:
            self._saver.start()


def _chance() -> float:
    """Return a number for jitter.

    A generator for each manager would be a third of an idle session's memory. The system's has no state that a fork
    would copy, or that `random.seed()` would make the same in a whole fleet.
    """
    return SystemRandom().random()
