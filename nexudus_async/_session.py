"""`TokenSession`: an aiohttp session whose requests carry the token.

Here is what only a wrapper can do: set the header through `headers=` (so that mocks see it, and aiohttp strips it on a
redirect to another origin), judge `raise_for_status` on the final response, and own the sessions underneath.
"""

import warnings
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import aiohttp
from yarl import URL

from ._clock import Clock
from ._credentials import Credentials
from ._events import Listener, Statistics
from ._http.aiohttp_internals import heed_netrc
from ._http.arguments import check_options, name_of_account, name_of_source
from ._http.connections import Connections
from ._http.middleware import BearerMiddleware, unauthorized_of
from ._http.request import Handshake, RaiseForStatus, apply, has_authorization, read_once, read_options_once
from ._http.sender import Sender
from ._http.shared import Shared
from ._http.verbs import Verbs
from ._keep_alive import KeepAlive
from ._manager import TokenManager, coordinator_of
from ._oauth.endpoint import TokenEndpoint
from ._ratelimit.gate import NOT_OURS, holding
from ._ratelimit.pacing import Pacing
from ._ratelimit.throttle import Throttle
from ._refresh.grants import TokenSource
from ._refresh.policy import Freshness, RefreshPolicy
from ._token import Token
from .errors import SessionClosedError
from .stores import TokenStore
from .stores._support import finish

if TYPE_CHECKING:
    from ._http.aiohttp_internals import LooseHeaders

    Response = aiohttp.ClientResponse
    WebSocket = aiohttp.ClientWebSocketResponse[bool]

DEFAULT_THROTTLE = Throttle()


class TokenSession(Verbs):
    """An aiohttp session for the Nexudus API that signs in, refreshes, and carries the token.

    credentials: who signs in, and how. None: tokens come from the store only, and `LoginRequiredError` says when they
        end.
    base_url: the origin of the service: https, or http on this machine. Relative URLs are resolved against it. None:
        the environment variable NEXUDUS_BASE_URL, else https://spaces.nexudus.com.
    client_id: the `client_id` header; Nexudus keeps one refresh token for each. None: a unique one for this session,
        so that sessions never end each other's tokens. Only for `PasswordCredentials`: the others come with theirs.
    store: where the tokens are shared with other processes, and with the next one; see `nexudus_async.stores`.
    account: the user name that the store files the tokens under, where the credentials do not say it.
    policy: when to refresh and how long to wait.
    client_session: an `aiohttp.ClientSession` to send through. It is borrowed: it keeps its middlewares, its pool and
        its cookies (one jar for several accounts mixes them up), and is never closed here. None: an own one, made at
        the first request.
    allowed_origins: further origins that may see the token.
    allow_insecure_http: allow plain http to other machines, where passwords and tokens can be read on the way.
    keep_alive: refresh while idle, from the first use on, so that the refresh token (15 days) never lapses.
    throttle: how patiently throttled requests (409 and 429) are replayed. None: their answers are the caller's.
    pacing: limits to keep by sending later, such as `Pacing.documented()`. None: requests go out at once. This and
        `throttle` are settings: sessions that are given the same object share nothing. `TokenSessions` shares both.
    source: where tokens come from in place of credentials, with a client_id, an account and a key of its own.
    on_event: a function of one event, called on the event loop, which it must not block.
    label: what events and log lines call the account. None: a hash of it.
    clock: the time; the system's by default.

    Making and entering one does no I/O and needs no event loop; nothing is fetched before the first use. One session
    may be shared by any number of tasks of one event loop. Raises `ConfigurationError` for arguments that cannot work.
    """

    _shared: Shared | None = None
    """What it has in common with others: set by `TokenSessions` before it is made."""

    def __init__(
        self,
        credentials: Credentials | None = None,
        *,
        base_url: str | URL | None = None,
        client_id: str | None = None,
        store: TokenStore | None = None,
        account: str | None = None,
        policy: RefreshPolicy | None = None,
        client_session: aiohttp.ClientSession | None = None,
        allowed_origins: Iterable[str | URL] = (),
        allow_insecure_http: bool = False,
        keep_alive: bool = False,
        throttle: Throttle | None = DEFAULT_THROTTLE,
        pacing: Pacing | None = None,
        source: TokenSource | None = None,
        on_event: Listener | None = None,
        clock: Clock | None = None,
        label: str | None = None,
    ) -> None:
        check_options(keep_alive, throttle, pacing)
        alone, shared = self._shared is None, self._shared
        if shared is None:
            shared = Shared(base_url, allowed_origins, client_session, allow_insecure_http=allow_insecure_http)
        self._base_url, self._destination = shared.base_url, shared.destination
        if source is None:
            self._name = name_of_account(credentials, store, account)
            source = TokenEndpoint(
                shared.pool, self._base_url, credentials, client_id=client_id, policy=policy,
                clock=clock, account=account, allow_insecure_http=allow_insecure_http,
            )  # fmt: skip
        else:
            self._name = name_of_source(source, credentials=credentials, account=account, client_id=client_id)
        self._source = source
        self._manager = TokenManager(source, store=store, policy=policy, clock=clock, on_event=on_event, label=label)
        self._coordinator = coordinator_of(self._manager)
        self._middleware = BearerMiddleware(self._manager, shared.origins)
        self._sender = Sender(self._manager, unauthorized_of(self._middleware), throttle, pacing, shared.limits)
        if alone:
            shared.pool.gate = self._sender.gate
        self._connections = Connections(shared.pool, self._coordinator.state, owned=alone)
        self._keep_alive = KeepAlive(self._coordinator) if keep_alive else None

    async def token(self) -> Token:
        """Return a token that has not expired.

        At once while it is FRESH or ADVISORY; else when the shared sign-in or refresh is done, or, within the hard
        margin, after `RefreshPolicy.mandatory_wait` seconds. Raises `SessionClosedError`, `ConfigurationError`, or what
        the sign-in or refresh raised. Cancelling affects nobody else: the flight goes on.
        """
        token = await self._manager.token()
        if self._keep_alive is not None:
            self._keep_alive.start()
        return token

    async def refresh(self) -> Token:
        """Refresh now, or join the refresh under way, whatever the token's age and any back-off.

        Raises and behaves on cancelling as `token()`.
        """
        token = await self._manager.refresh()
        if self._keep_alive is not None:
            self._keep_alive.start()
        return token

    async def sign_in(self) -> Token:
        """Send the credentials, whatever tokens there are here or in the store, and return the token they give.

        For whoever checks a login: `token()` and `refresh()` are content with what is stored, be the password right or
        wrong. Raises `CredentialsRejectedError` for a wrong one, and as `token()`. A refresh token in hand
        is refreshed, a one-time JWT exchanged: `LoginRequiredError` then says that it may have been used, and is not
        sent again. A failure leaves the tokens held as they were. Cancelling affects nobody else.
        """
        token = await self._manager.sign_in()
        if self._keep_alive is not None:
            self._keep_alive.start()
        return token

    async def logout(self) -> None:
        """Forget the tokens, and end a sign-in or refresh under way; the next use signs in again.

        Nexudus documents no revocation: the service is not told. Those who wait get `LoginRequiredError`. With a store
        it waits for a refresh under way in another process. Cancelling leaves the session logged out, and goes on
        telling the others. Raises `SessionClosedError` once closed.
        """
        await self._manager.logout()

    async def close(self) -> None:
        """Close the session; a borrowed `client_session` stays open.

        Every wait ends with `SessionClosedError`; a refresh under way may commit for `RefreshPolicy.close_timeout`
        seconds. May be called again, and by several tasks at once. Cancelled itself, it leaves the session closed.
        Raises `ConfigurationError`, and closes nothing, while another thread's event loop uses it, and after a fork.
        """
        self._coordinator.state.check_closable()
        self._sender.close()
        try:
            await self._coordinator.close(keep_store=self._shared is not None)
        finally:
            await finish(self._disconnect())

    @property
    def closed(self) -> bool:
        """Whether `close()` was called."""
        return self._coordinator.state.closed

    @property
    def freshness(self) -> Freshness:
        """The state of the token, computed now."""
        return self._manager.freshness

    def statistics(self) -> Statistics:
        """Return counters and the present state, without secrets."""
        return self._sender.added_to(self._manager.statistics())

    @property
    def label(self) -> str:
        """What events and log lines call the account."""
        return self._coordinator.emitter.account

    @property
    def manager(self) -> TokenManager:
        """What holds and refreshes the token."""
        return self._manager

    @property
    def middleware(self) -> BearerMiddleware:
        """What carries the token, by the same rule, for another `aiohttp.ClientSession(middlewares=(…,))`."""
        return self._middleware

    async def __aenter__(self) -> Self:
        if self.closed:
            raise SessionClosedError("the session is closed: make a new one")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<TokenSession {self._name} at {self._base_url}: {self._manager!r}>"

    def __del__(self) -> None:
        connections: Connections | None = self.__dict__.get("_connections")  # __init__ may have raised
        if connections is not None and connections.unclosed and not self.closed:
            warnings.warn(
                f"unclosed {self!r}: use async with, or await close()", ResourceWarning, stacklevel=2, source=self
            )

    async def _request(
        self,
        method: str,
        url: str | URL,
        *,
        headers: "LooseHeaders | None" = None,
        raise_for_status: RaiseForStatus = None,
        **kwargs: Any,
    ) -> "Response":
        session, target, headers, carries = self._resolved(url, headers, kwargs)
        ours = session if carries else None
        if carries and session.trust_env:
            ours = await heed_netrc(session, target)
        if ours is None:
            with holding(NOT_OURS):
                return await session.request(
                    method, target, headers=headers, raise_for_status=raise_for_status, **kwargs
                )
        response = await self._sender.send(ours, method, target, headers, kwargs)
        judge = session.raise_for_status if raise_for_status is None else raise_for_status
        if judge:
            await apply(judge, response)
        return response

    async def _ws_connect(self, url: str | URL, *, headers: "LooseHeaders | None" = None, **kwargs: Any) -> "WebSocket":
        session, target, headers, carries = self._resolved(url, headers, kwargs)
        ours = session if carries else None
        if carries and session.trust_env:
            ours = await heed_netrc(session, target)
        if ours is None:
            with holding(NOT_OURS):
                return cast("WebSocket", await session.ws_connect(target, headers=headers, **kwargs))
        return await self._sender.connect(Handshake(ours, kwargs.get("method", "GET"), target, headers, kwargs))

    def _resolved(
        self, url: str | URL, headers: "LooseHeaders | None", options: dict[str, Any]
    ) -> "tuple[aiohttp.ClientSession, URL, LooseHeaders | None, bool]":
        """Return what a request goes through, where to, with which headers, and whether it carries the token.

        The headers, and those of aiohttp's keywords in `options` that may be iterators, can be read again then.
        """
        session = self._connections.for_requests()
        if self._keep_alive is not None:
            self._keep_alive.start()
        headers = read_once(headers)
        read_options_once(options)
        target, is_ours = self._destination(url)
        return session, target, headers, is_ours and not has_authorization(headers, options)

    async def _disconnect(self) -> None:
        if self._keep_alive is not None:
            await self._keep_alive.stop()
        try:
            await self._sender.disconnect()
        finally:
            await self._connections.close()
