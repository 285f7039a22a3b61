"""What a caller gets, decided from the freshness of the token, and the one flight that is launched or joined for it.

There is no await between looking at the state and launching or joining a flight, so no two callers can both launch one,
and no lock is needed. A flight belongs to the manager: it publishes the token and wakes those who wait, in this order
and in one step; whoever was woken finds the token, and a rotated refresh token is kept even when nobody waits any more.
A failure is remembered and shared: one attempt, one warning, however many callers there are.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from nexudus_async._events import Emitter, Reason, TokenRejected
from nexudus_async._token import Token
from nexudus_async.errors import (
    EndpointUnavailableError,
    LoginRequiredError,
    NexudusAuthError,
    SessionClosedError,
    cause_of,
    copy_of,
)
from nexudus_async.stores._support import finish

from .attempt import Attempt
from .policy import Freshness
from .renewal import HeldOffError, Refresher
from .single_flight import Flight
from .state import TokenState

GRACE = 1.0
"""Seconds that a cancelled `close()` still waits for what it has cancelled: a source may take its time for that."""
MAX_ROUNDS = 3
"""How often a caller waits for a token that has expired by the time the caller runs, before it is told so."""
LOGGED_OUT = "the session was logged out while this call waited for a token"

Successor = Callable[[], Awaitable[Token]]
"""To be called and awaited for the token to try after a refused one."""


class Coordinator:
    """Gives tokens to any number of tasks of one event loop."""

    def __init__(self, key: str, state: TokenState, refresher: Refresher, emitter: Emitter) -> None:
        self.key, self.state, self._refresher, self.emitter = key, state, refresher, emitter
        self._flight: Flight[Token] | None = None
        self._attempt: Attempt | None = None
        self._logouts: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int | None:
        """How many calls wait for the flight under way, None where there is none."""
        flight = self._flight
        return None if flight is None or flight.ended else flight.waiting

    @property
    def unsaved(self) -> bool:
        """Whether a store has yet to take the newest token, or a logout."""
        return self._refresher.unsaved

    # What a caller gets

    async def token(self) -> Token:
        """Return a token that has not expired, as `TokenManager.token` says."""
        state, epoch, flight = self.state, self.state.epoch, self._flight
        if flight is not None and not flight.landed and state.only_waits:  # so thousands do at the first sign-in
            await flight.wait()
            self._check_not_logged_out(epoch)
            if state.is_fresh:
                return state.fresh
        for _ in range(MAX_ROUNDS):
            state.check_usable()
            freshness, token, error = state.freshness, state.token, self._forbidden
            match freshness:
                case Freshness.FRESH if token is not None:
                    return token
                case Freshness.ADVISORY if token is not None:
                    if error is None and not state.quiet:
                        self.launch("advisory")
                    return token
                case Freshness.MANDATORY if token is not None:
                    if error is not None or state.quiet:
                        return token
                    await self._wait_a_little(self.launch("mandatory"))
                case _:
                    if error is not None:
                        raise copy_of(error) from cause_of(error)
                    refused = freshness is Freshness.REFUSED
                    await self.launch("rejected" if refused else "empty" if token is None else "expired").wait()
            self._check_not_logged_out(epoch)
            token = state.token
            if token is not None and (state.is_fresh or state.servable):  # the former is what a herd of waiters finds
                return token
        raise EndpointUnavailableError("tokens expire before they can be used: is the service's expires_in too short?")

    async def token_to_send(self) -> Token:
        """Return a token for a request: as `token`, but also one that the API has refused, while there is no other.

        Whether it is refused here too is for the API to say: it may have been a permission that was missing.
        """
        (state := self.state).check_usable()
        token = state.token
        if token is None or state.refused is None or not state.servable:
            return await self.token()
        if self._forbidden is None:
            self.launch("rejected")
        return token

    async def refresh(self) -> Token:
        """Return a new token, whatever the age of the one held, and any back-off."""
        self.state.check_usable()
        return await self.launch("requested").wait()

    async def sign_in(self) -> Token:
        """Return a token for the credentials, which are sent whatever else there is."""
        state, epoch = self.state, self.state.epoch
        state.check_usable()
        while (flight := self._under_way) is not None and not (self._attempt and self._attempt.by_credentials):
            await flight.until_ended()
            state.check_usable()
            self._check_not_logged_out(epoch)
        return await self.launch("requested", by_credentials=True).wait()

    def refresh_early(self) -> None:
        """Refresh a token that is good, because its refresh token is old; not while back-off forbids it."""
        self.state.check_usable()
        if self._forbidden is None and not self.state.quiet:
            self.launch("advisory")

    @property
    def _forbidden(self) -> NexudusAuthError | None:
        """The failure that ends a call at once, None where an attempt, or a look, is due."""
        return None if self.state.last_error is None else self._forbidden_if(served=self.state.served)

    def _forbidden_if(self, *, served: bool) -> NexudusAuthError | None:
        error = self.state.held_off_by(served=served)
        if error is not None and self._refresher.worth_a_look(error, self.state.looked_ago, served=served):
            return None
        return error

    def at_rest_with(self, rejected: Token) -> bool:
        """Tell whether this is the newest token, and no flight under way that might bring another."""
        state, at_rest = self.state, self._under_way is None
        return at_rest and state.token is not None and not (state.replaced(rejected) or state.closed)

    def would_force(self, rejected: Token) -> bool:
        """Tell whether `after_rejection` would launch a flight: at rest, and not held off, with a refused token."""
        return self.at_rest_with(rejected) and self._forbidden_if(served=False) is None

    def check_not_refused(self, rejected: Token) -> None:
        """Raise again what has kept us from a successor of this token."""
        if (error := self.state.successor_failed(rejected)) is not None:
            raise copy_of(error) from cause_of(error)

    def after_rejection(self, rejected: Token) -> Successor | None:
        """Decide what to wait for when the API has refused a token, and begin it. None: the 401 is the answer.

        Raises as `check_usable`, and as `check_not_refused`.
        """
        (state := self.state).check_usable()
        state.rejected(rejected)
        replaced = state.replaced(rejected)
        flight = None
        try:
            if not replaced and (self._under_way is not None or self.would_force(rejected)):
                flight = self.launch("rejected")
        finally:
            self.emitter.emit(lambda: TokenRejected(generation=rejected.generation, renewal=flight is not None))
        if flight is not None:
            return flight.wait
        if replaced:
            return self.token
        self.check_not_refused(rejected)
        return None

    async def _wait_a_little(self, flight: Flight[Token]) -> None:
        """Wait for the flight, but not for long and not for its error: the token held is still good."""
        with anyio.move_on_after(self.state.policy.mandatory_wait):
            try:
                await flight.wait()
            except NexudusAuthError:
                self.state.check_usable()  # closed meanwhile: that is for the caller to know

    def _check_not_logged_out(self, epoch: int) -> None:
        """Raise for a call that began in `epoch`, if that is over: else it would undo the logout by a sign-in."""
        if epoch != self.state.epoch:
            raise LoginRequiredError(LOGGED_OUT)

    # The flight

    @property
    def _under_way(self) -> Flight[Token] | None:
        """The flight whose outcome is yet to come."""
        return self._flight if self._flight is not None and not self._flight.landed else None

    def launch(self, reason: Reason, *, by_credentials: bool = False) -> Flight[Token]:
        """Return the flight under way, or launch one. No await: the look and the launch are one step."""
        before = flight = self._flight
        if flight is not None and not flight.landed and self._attempt is not None:
            self._attempt.join(reason)
            return flight
        self._attempt = attempt = Attempt(self.state, self.emitter, reason, by_credentials=by_credentials)
        self._flight = attempt.flight = flight = Flight(partial(self._fly, attempt), after=before)
        try:
            flight.start()
        except BaseException:  # a task factory's, or no memory: the next caller tries again
            self._flight = before
            raise
        return flight

    async def _fly(self, attempt: Attempt, flight: Flight[Token]) -> None:
        try:
            await self._run(attempt)
        except HeldOffError as held:
            attempt.held_off(held.error, held.seconds)
        except Exception as exc:  # noqa: BLE001 - a source is foreign code: whatever it raises is a failed refresh
            attempt.failed(exc)
        finally:
            if self._flight is flight:  # a later flight may be waiting for this one to end
                self._flight = None
            self._save_later()

    async def _run(self, attempt: Attempt) -> None:
        try:
            await self._refresher.run(attempt)
        except HeldOffError:
            if not attempt.forced:
                raise
            await self._refresher.run(attempt)  # somebody has joined by hand, when it was held off already

    def _save_later(self) -> None:
        if not self.state.closed:
            self._refresher.save_later()

    # The end

    async def log_out(self) -> None:
        """Forget the tokens and end the flight, as `TokenManager.logout` says."""
        (state := self.state).check_usable()
        token, generation, flight = state.token, state.generation, self._flight
        state.logged_out(shared=self._refresher.shared)
        self._refresher.prepare_tombstone(generation, token)
        if flight is not None:
            flight.fail(LoginRequiredError(LOGGED_OUT))
            flight.cancel()
        logout = asyncio.get_running_loop().create_task(
            self._finish_logout(flight), context=contextvars.Context(), name="nexudus_async logout"
        )
        self._logouts.add(logout)
        logout.add_done_callback(self._logouts.discard)
        await asyncio.wait([logout])  # cancelling leaves it alone
        if logout.cancelled():
            raise SessionClosedError("the session was closed while this call waited for the store")
        logout.result()

    async def _finish_logout(self, flight: Flight[Token] | None) -> None:
        """Let the flight end, and the store have the tombstone."""
        if flight is not None:
            await flight.until_ended()
        try:
            generation = await self._refresher.save_tombstone()
        finally:
            self._save_later()
        self.state.tombstone_saved(generation)

    async def close(self, *, keep_store: bool = False) -> None:
        """End every wait, as `TokenManager.close` says. keep_store: leave the store's connections open, for others."""
        state, refresher, flight = self.state, self._refresher, self._flight
        state.check_closable()
        state.close()
        if state.loop is not asyncio.get_running_loop():
            return
        try:
            with anyio.move_on_after(state.policy.close_timeout):
                if flight is not None:
                    flight.fail(SessionClosedError("the session was closed while this call waited for a token"))
                    await flight.until_ended()
                if refresher.unsaved:
                    await refresher.save_unsaved()
        finally:
            ending = [*self._logouts, *refresher.end_saving()]
            for task in ending:
                task.cancel()
            if flight is not None:
                flight.cancel()
            await finish(self._let_go(flight, ending, keep_store=keep_store), grace=GRACE)

    async def _let_go(self, flight: Flight[Token] | None, tasks: list[asyncio.Task[None]], *, keep_store: bool) -> None:
        """See the tasks that were cancelled to their end, then close the connections of the store."""
        try:
            if flight is not None:
                await flight.until_ended()
            if tasks:
                await asyncio.wait(tasks)
        finally:
            if not keep_store:
                await self._refresher.disconnect()
