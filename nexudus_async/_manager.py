"""`TokenManager`: what a caller gets. Its public methods, and no more.

The way of a call is in `_refresh/coordinator.py`, the state of the token in `_refresh/state.py`.
"""

import sys
import warnings
from asyncio import get_running_loop
from collections.abc import Callable
from random import Random, SystemRandom
from threading import get_ident
from typing import Final

from ._clock import Clock, SystemClock
from ._events import Emitter, Listener, Statistics
from ._refresh.coordinator import Coordinator
from ._refresh.grants import TokenSource
from ._refresh.policy import Freshness, RefreshPolicy
from ._refresh.renewal import AloneRefresher, Asking, Refresher
from ._refresh.state import TokenState
from ._token import Token
from ._validation import check_kind, check_methods
from .errors import ConfigurationError
from .stores import TokenStore

LOOP_IS_CHEAP: Final = sys.version_info >= (3, 12)
"""Before, `get_running_loop()` asks the system for the process id, which may take longer than all the rest."""
LABEL_LENGTH = 12
"""Characters of a key that tell accounts apart in a log."""


class TokenManager:
    """Holds the token of one account and refreshes it, shared by any number of tasks of one event loop.

    source: where tokens come from.
    store: where the tokens are shared with other processes, and with the next one. Without it they are in memory.
    policy: when to refresh and how long to wait.
    clock: the time; the system's by default.
    random: a `random.Random`, or a function that returns numbers from 0 to 1, for jitter.
    on_event: called with each event, on the event loop, when those who waited have been woken; it must not block.
    label: what events and log lines call the account. None: the beginning of the source's key, for Nexudus a hash.

    Making one does no I/O and needs no event loop; it belongs to the first loop that uses it. Raises
    `ConfigurationError` for arguments that cannot work, a store among them whose `lease` is shorter than the policy's
    `flight_deadline` and the save after it, and on use from another loop or after a fork.
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
        label: str | None = None,
    ) -> None:
        check_methods("source", source, ("login", "refresh"), "a TokenSource")
        if not isinstance(getattr(source, "key", None), str):
            raise ConfigurationError("source must have a key: the text that a store files its tokens under")
        if store is not None:
            check_methods("store", store, ("load", "save", "clear", "refresh_lock"), "a TokenStore")
        if clock is not None:
            check_methods("clock", clock, ("monotonic", "wall"), "a Clock")
        check_kind("policy", policy, RefreshPolicy, "a RefreshPolicy")
        if not (random is None or isinstance(random, Random) or callable(random)):
            raise ConfigurationError("random must be a random.Random, or a function that returns numbers from 0 to 1")
        check_kind("label", label, str, "text")
        policy, clock, chance = policy or RefreshPolicy(), clock or SystemClock(), _chance_of(random)
        emitter = Emitter(on_event, source.key[:LABEL_LENGTH] if label is None else label, clock)
        self._state = state = TokenState(policy, clock, chance)
        asking = Asking(source, policy, state.clock)
        refresher: Refresher = AloneRefresher(asking)
        if store is not None:
            from ._fleet.assembly import refresher_with  # noqa: PLC0415 - a tenth of the package, for those with a store

            refresher = refresher_with(
                store, asking, state, key=source.key, policy=policy, chance=chance, emitter=emitter
            )
        self._coordinator = Coordinator(source.key, state, refresher, emitter)

    async def token(self) -> Token:
        """Return a token that has not expired.

        At once while it is FRESH or ADVISORY (then one flight refreshes it in the background); at most
        `RefreshPolicy.mandatory_wait` later while it is MANDATORY; else when the shared sign-in or refresh is done.
        Raises `SessionClosedError`, `ConfigurationError`, or what the sign-in or refresh raised: each caller gets an
        error object of its own. Cancelling affects nobody else, and the flight goes on.
        """
        # The hot path: is the token fresh by both clocks, and is this our event loop? After a fork nothing is fresh.
        state = self._state
        monotonic, wall, is_running = state.monotonic, state.wall, state.loop_is_running  # not looked up as methods
        if (
            monotonic() < state.fresh_monotonic
            and wall() < state.fresh_wall
            and (get_running_loop() is state.loop if LOOP_IS_CHEAP else get_ident() == state.thread and is_running())
        ):
            return state.fresh
        return await self._coordinator.token()

    def current(self) -> Token | None:
        """Return the token if it is FRESH, else None. Never waits and starts nothing."""
        state = self._state
        if state.monotonic() < state.fresh_monotonic and state.wall() < state.fresh_wall:
            return state.fresh
        return None

    async def refresh(self) -> Token:
        """Refresh now, or join the flight under way, whatever the token's age and any back-off.

        Raises and behaves on cancelling as `token()`.
        """
        return await self._coordinator.refresh()

    async def reject(self, token: Token) -> Token | None:
        """Report that the API refused `token` with 401, and return one to try instead, or None.

        If `token` was replaced already, the newer one is returned and nothing is sent; otherwise one refresh is
        shared by all who report the same token. None: back-off forbids a refresh now, or the session was logged out;
        the 401 is then the caller's answer. Raises and behaves on cancelling as `token()`.
        """
        successor = self._coordinator.after_rejection(token)
        return None if successor is None else await successor()

    async def sign_in(self) -> Token:
        """Send the credentials, whatever tokens there are here or in a store, and return the token they give.

        For whoever checks a login: with a store, `token()` and `refresh()` are content with what is stored, be the
        password right or wrong. Raises and behaves on cancelling as `token()`; a failure leaves the
        tokens held as they were.
        """
        return await self._coordinator.sign_in()

    @property
    def freshness(self) -> Freshness:
        """The state of the token, computed now."""
        return self._state.freshness

    def statistics(self) -> Statistics:
        """Return counters and the present state, without secrets."""
        state, token = self._state, self._state.token
        return Statistics(
            generation=token.generation if token is not None else 0,
            expires_in=state.remaining,
            retry_in=state.retry_in,
            waiting=self._coordinator.waiting or 0,
            sign_ins=state.obtained["password"] + state.obtained["exchange"],
            renewals=state.obtained["refresh_token"],
            adoptions=state.adoptions,
            unsaved=int(self._coordinator.unsaved),
            failures=state.failures,
            rejections=state.rejections,
            refused=state.refused is not None,
        )

    async def logout(self) -> None:
        """Forget the tokens, and end a sign-in or refresh under way.

        Nexudus documents no revocation: the service is not told. Those who wait get `LoginRequiredError`; the next
        call of `token()` signs in again. With a store it waits, up to a minute, for a refresh under way elsewhere.
        Cancelling leaves the session logged out, and goes on telling the other processes. Raises `SessionClosedError`
        when the session is closed meanwhile.
        """
        await self._coordinator.log_out()

    async def close(self) -> None:
        """End every wait with `SessionClosedError`, and let a running flight commit for `close_timeout` seconds.

        What a store has not taken yet is offered to it once more. May be called again, and by several tasks at once.
        Cancelled itself, it leaves the manager closed and nothing running. Raises `ConfigurationError`, and closes
        nothing, while another thread's event loop uses it, and after a fork; once that loop has ended it may be called.
        """
        await self._coordinator.close()

    def __repr__(self) -> str:
        state, parts, waiting = self._state, [self.freshness.value], self._coordinator.waiting
        if state.token is not None:
            parts.append(f"generation {state.token.generation}, {state.remaining:.0f} s left")
        if waiting is not None:
            parts.append(f"refreshing, {waiting} waiting")
        if (pause := state.retry_in) > 0:
            parts.append(f"holding off for {pause:.0f} s after {state.failures_in_a_row} failures")
        return f"<{type(self).__name__} {', '.join(parts)}>"

    def __del__(self) -> None:
        state: TokenState | None = self.__dict__.get("_state")  # __init__ may have raised
        if state is not None and state.loop is not None and not state.closed and not state.forked:
            warnings.warn(f"unclosed {self!r}: await close()", ResourceWarning, stacklevel=2, source=self)


def coordinator_of(manager: TokenManager) -> Coordinator:
    """Return what the rooms above need of a manager, and its users do not."""
    return manager._coordinator  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - for this


def _chance_of(random: Random | Callable[[], float] | None) -> Callable[[], float]:
    """Return where jitter comes from.

    By default the system's generator: it has no state that a fork would copy, or that `random.seed()` would make the
    same in a whole fleet. One of our own for each manager would be a third of an idle session's memory.
    """
    if isinstance(random, Random):
        return random.random
    return random if random is not None else _system_random


def _system_random() -> float:
    return SystemRandom().random()
