"""`TokenSessions`: a session for each of many accounts, made when it is wanted and closed when it no longer is."""

import asyncio
import inspect
import os
import warnings
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

import aiohttp
import anyio
from yarl import URL

from ._clock import Clock, SystemClock
from ._credentials import Credentials, PasswordCredentials
from ._events import Emitter, Listener
from ._http.arguments import check_of_many, check_options
from ._http.shared import Shared
from ._member import Member
from ._members import Members
from ._oauth.endpoint import account_key, normalized
from ._ratelimit.limits import Limits
from ._ratelimit.pacing import Pacing
from ._ratelimit.throttle import Throttle
from ._refresh.policy import RefreshPolicy
from ._refresh.state import ELSEWHERE
from ._session import DEFAULT_THROTTLE, TokenSession
from .errors import ConfigurationError, EndpointUnavailableError, NexudusAuthError, SessionClosedError, copy_of
from .stores import KeepsConnections, TokenStore
from .stores._support import finish

CredentialsOf = Callable[[str], "Credentials | Awaitable[Credentials | None] | None"]
"""Who gives the credentials of an account: a function, or a coroutine function."""
STORE_TIMEOUT, CALLABLE_TIMEOUT = 5.0, 5.0
"""Seconds at the end: for a store to close its connections, and for callables that were cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsStatistics:
    """A snapshot of a `TokenSessions`: what there is now, and counts since it was made.

    open: sessions that there are. in_use: those with a request, a call for a token or a refresh under way.
    made: sessions made. closed_idle, closed_for_room: closed because they were idle, or because there were too many.
    failed: sessions that could not be made: the credentials could not be had, or cannot work.
    sign_ins, renewals, failures: as in `Statistics`, of all sessions together, those closed since included.
    """

    open: int
    in_use: int
    made: int
    closed_idle: int
    closed_for_room: int
    failed: int
    sign_ins: int
    renewals: int
    failures: int


class TokenSessions:
    """Sessions for many accounts, such as the members that are signed in to a portal: one `TokenSession` for each.

    credentials: a function, or a coroutine function, that is given an account's name and returns its credentials; it
        is asked when a session is made, and so again when the last one was closed, as by hand after a
        `LoginRequiredError`. None, as its result or in its place: tokens come from the store only.
    client_session: as for `TokenSession`, but that its cookies are left out: they are one account's.
    max_sessions: how many may be open. If there are more, those that were used least recently are closed.
    idle_timeout: seconds after which an unused session is closed. None: never.
    throttle, pacing: given, they are one for all accounts: one that is throttled holds up all, and all keep one pace.
        By default each session has a throttle of its own. Both are settings: another `TokenSessions`, or a
        `TokenSession` made by hand, that is given the same objects shares nothing with this one.
    client_id: not here: Nexudus keeps one refresh token for each, so that accounts would end each other's sessions.
    label: a function that returns what events and log lines call an account. None: a hash of it.
    All others: as for `TokenSession`.

    Closed is never a session with a request, a body that is yet to be read, an open WebSocket, a call of `token()`,
    `refresh()` and the like, or a refresh under way, nor one whose newest token the store has yet to take; there may be
    more than `max_sessions` for so long. What goes through its `manager` or `middleware` is not seen. With `keep_alive`
    no session is closed for being idle, only for room. Whoever has a session that was closed gets `SessionClosedError`
    from it: ask for it anew for each piece of work. Without a store its tokens are gone, and the credentials are asked
    for again; what they handed over before is not sent again.

    All sessions share one pool of connections for requests and one for tokens, of aiohttp's 100 each (lend a session
    for more), and no cookies. Making and entering one does no I/O and needs no event loop; it belongs to the first loop
    that uses it, and may be shared by any number of tasks. Raises `ConfigurationError` for arguments that cannot work,
    and on use from another loop.
    """

    def __init__(
        self,
        credentials: CredentialsOf | None,
        *,
        base_url: str | URL | None = None,
        client_id: None = None,
        store: TokenStore | None = None,
        policy: RefreshPolicy | None = None,
        client_session: aiohttp.ClientSession | None = None,
        max_sessions: int = 10_000,
        idle_timeout: float | None = 3600.0,
        allowed_origins: Iterable[str | URL] = (),
        allow_insecure_http: bool = False,
        keep_alive: bool = False,
        throttle: Throttle | None = DEFAULT_THROTTLE,
        pacing: Pacing | None = None,
        on_event: Listener | None = None,
        clock: Clock | None = None,
        label: Callable[[str], str] | None = None,
    ) -> None:
        check_of_many(credentials, client_id, most=max_sessions, idle=idle_timeout, label=label, store=store)
        self._credentials, self._label, self._store = credentials, label, store
        check_options(keep_alive, throttle, pacing)
        clock, policy = clock or SystemClock(), policy or RefreshPolicy()
        self._shared = shared = Shared(
            base_url, allowed_origins, client_session, allow_insecure_http=allow_insecure_http, accounts="many"
        )
        self._options: dict[str, Any] = {
            "store": store, "policy": policy, "allow_insecure_http": allow_insecure_http,
            "keep_alive": keep_alive, "throttle": throttle, "pacing": pacing, "on_event": on_event, "clock": clock,
        }  # fmt: skip
        if pacing is not None or throttle is not DEFAULT_THROTTLE:
            key, emitter = account_key(shared.base_url, None, None), Emitter(on_event, "all accounts", clock)
            shared.limits = limits = Limits(throttle, pacing, key=key, clock=clock, emitter=emitter)
            shared.pool.gate = limits.gate
        Member(shared, PasswordCredentials("nobody", "nothing"), **self._options)  # says now what could never work
        self._deadline = policy.flight_deadline
        self._members = Members(max_sessions, None if keep_alive else idle_timeout, clock)
        self._making: dict[str, asyncio.Task[Member]] = {}
        self._failed = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._closed = False

    async def session(self, account: str) -> TokenSession:
        """Return the one session of `account`, whoever asks, and however it spells the name.

        One is made if there is none: no request is sent for that. Whoever asks meanwhile waits for the same one.
        Raises what the credentials' callable raises, and `ConfigurationError` for what it returns, to those who wait
        for it; the next call asks it again. Raises `EndpointUnavailableError` where it gives nothing within
        `RefreshPolicy.flight_deadline` seconds, and `SessionClosedError`. Cancelling affects nobody else.
        """
        self._check_usable()
        if not isinstance(account, str) or not account.strip():
            raise ConfigurationError("account must be a user name, a non-empty str")
        key = normalized(account)
        await self._members.until_ended(key)
        self._check_usable()  # again: they may have been closed during that wait
        if (member := self._members.get(key)) is not None:
            self._members.use(key)
            return member
        making = self._making.get(key) or self._make(key, account)
        return making if isinstance(making, Member) else await self._made(key, making)

    def __len__(self) -> int:
        """Return how many sessions are open."""
        return len(self._members)

    @property
    def closed(self) -> bool:
        """Whether `close()` was called."""
        return self._closed

    def statistics(self) -> SessionsStatistics:
        """Return counts and the present state, without secrets. It looks at every session."""
        members = self._members
        return SessionsStatistics(
            open=len(members),
            in_use=members.in_use,
            made=members.made,
            closed_idle=members.closed["idle"],
            closed_for_room=members.closed["room"],
            failed=self._failed,
            **members.totals()._asdict(),
        )

    async def close(self) -> None:
        """Close all sessions; a borrowed `client_session` stays open.

        As `TokenSession.close`, for all of them at once: every wait ends with `SessionClosedError`, refreshes under way
        may commit. May be called again, and by several tasks at once. Cancelled itself, it leaves all of them closed.
        """
        if self._pid not in (0, os.getpid()) or (self._loop is not None and self._is_used_elsewhere(self._loop)):
            raise ConfigurationError(ELSEWHERE)
        self._closed = True
        here = self._loop is asyncio.get_running_loop()
        making: list[asyncio.Task[Member]] = list(self._making.values()) if here else []
        for task in making:
            task.cancel()
        if self._shared.limits is not None:
            self._shared.limits.close()
        try:
            await self._members.close()
            if making:
                await asyncio.wait(making, timeout=CALLABLE_TIMEOUT)
        finally:
            await finish(self._disconnect())

    async def __aenter__(self) -> Self:
        if self.closed:
            raise SessionClosedError("the sessions are closed: make new ones")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self)} of at most {self._members.most}"
        return f"<TokenSessions {state} at {self._shared.base_url}>"

    def __del__(self) -> None:
        shared: Shared | None = self.__dict__.get("_shared")  # __init__ may have raised
        if shared is not None and shared.pool.unclosed and not self.closed:
            warnings.warn(
                f"unclosed {self!r}: use async with, or await close()", ResourceWarning, stacklevel=2, source=self
            )

    def _make(self, key: str, account: str) -> "Member | asyncio.Task[Member]":
        """Return a new session, or what is making one. No await: looking for it and making it are one step."""
        try:
            given = None if self._credentials is None else self._credentials(account)
            if not inspect.isawaitable(given):
                return self._add(key, account, given)
        except BaseException:
            self._failed += 1
            raise
        making = asyncio.get_running_loop().create_task(self._make_later(key, account, given))
        self._making[key] = making
        making.add_done_callback(partial(self._on_made, key, given))
        return making

    async def _made(self, key: str, making: "asyncio.Task[Member]") -> Member:
        """Wait for a session that is being made. It is not closed before those who wait have got it."""
        awaited = self._members.awaited
        awaited[key] += 1
        try:
            await asyncio.wait((making,))  # cancelling leaves it alone
        finally:
            awaited[key] -= 1
            if not awaited[key]:
                del awaited[key]
        if not making.cancelled():
            if isinstance(error := making.exception(), NexudusAuthError):
                raise copy_of(error) from error  # each has its own: a traceback grows where it is raised
            return making.result()
        self._check_usable()
        raise EndpointUnavailableError("the credentials callable was cancelled")

    async def _make_later(self, key: str, account: str, given: "Awaitable[Credentials | None]") -> Member:
        credentials = await self._within_deadline(given)
        if self.closed:
            raise SessionClosedError("the sessions were closed while this one was made")
        return self._add(key, account, credentials)

    async def _within_deadline(self, given: "Awaitable[Credentials | None]") -> Credentials | None:
        with anyio.move_on_after(self._deadline):
            return await given
        raise EndpointUnavailableError(f"no credentials were given within {self._deadline:g} s")

    def _on_made(self, key: str, given: object, making: "asyncio.Task[Member]") -> None:
        del self._making[key]
        if inspect.iscoroutine(given):
            given.close()  # where it was cancelled before it began, it would complain that nobody awaited it
        # Asking for the exception marks it as seen: whoever waits raises it, and nobody may wait any more.
        failed = making.exception() is not None if not making.cancelled() else not self.closed
        self._failed += failed

    def _add(self, key: str, account: str, credentials: Credentials | None) -> Member:
        nameless = credentials is None or getattr(credentials, "username", account) is None
        label = None if self._label is None else self._label(account)
        member = Member(self._shared, credentials, account=account if nameless else None, label=label, **self._options)
        self._members.add(key, member)
        return member

    def _check_usable(self) -> None:
        if self.closed:
            raise SessionClosedError("the sessions are closed: make new ones")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop, self._pid = loop, os.getpid()
        if self._loop is not loop or self._pid != os.getpid():
            raise ConfigurationError(ELSEWHERE)

    @staticmethod
    def _is_used_elsewhere(loop: asyncio.AbstractEventLoop) -> bool:
        return loop.is_running() and loop is not asyncio.get_running_loop()

    async def _disconnect(self) -> None:
        try:
            if self._shared.limits is not None:
                await self._shared.limits.disconnect()
            if isinstance(self._store, KeepsConnections):
                with suppress(Exception), anyio.move_on_after(STORE_TIMEOUT):
                    await self._store.disconnect()
        finally:
            await self._shared.pool.close()
