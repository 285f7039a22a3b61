"""The aiohttp sessions that requests and token requests go through: made at the first use, closed if they are ours."""

from typing import Literal

import aiohttp

from nexudus_async._ratelimit.gate import Gate
from nexudus_async._refresh.state import TokenState
from nexudus_async.errors import ConfigurationError

from .aiohttp_internals import own_session, token_session, token_session_like, untraced_session_like, without_cookies


class Pool:
    """What one `TokenSession` sends through, or many: one pool of connections for requests, and one for tokens.

    borrowed: the session of somebody else for the requests, which is never closed here; None: an own one.
    accounts: how many send through it: cookies are kept for one alone, and in the borrowed session's jar.
    """

    def __init__(self, borrowed: aiohttp.ClientSession | None, *, accounts: Literal["one", "many"] = "one") -> None:
        self._borrowed, self._many = borrowed, accounts == "many"
        self._requests: aiohttp.ClientSession | None = None
        self._tokens: aiohttp.ClientSession | None = None
        self._untraced: aiohttp.ClientSession | None = None
        self.gate: Gate | None = None
        """What holds back requests that wait for a connection of our own pool; set before the first use."""

    @property
    def unclosed(self) -> bool:
        """Whether a session of our own has been made."""
        return self._tokens is not None or (self._borrowed is None and self._requests is not None)

    def for_requests(self) -> aiohttp.ClientSession:
        """Return the session for requests."""
        if self._borrowed is not None and not self._many:
            return self._borrowed
        if self._requests is None:
            self._requests = own_session(self.gate) if self._borrowed is None else without_cookies(self._borrowed)
        return self._requests

    def __call__(self) -> aiohttp.ClientSession:
        """Return the session for token requests: a pool of their own, with the settings of a borrowed session."""
        if self._tokens is None:
            twin = token_session() if self._borrowed is None else token_session_like(self._borrowed)
            if twin is None:
                return self.for_requests()
            self._tokens = twin
        return self._tokens

    def untraced(self) -> aiohttp.ClientSession:
        """Return a session for those token requests that have a secret in the URL, which trace configs would see."""
        session = self()
        if not session.trace_configs:
            return session
        if self._untraced is None:
            self._untraced = untraced_session_like(session)
        return self._untraced

    async def close(self) -> None:
        """Close what is ours."""
        for session in (self._untraced, self._tokens, self._requests if self._borrowed is None else None):
            if session is not None:
                await session.close()
        if self._borrowed is not None and self._requests not in (None, self._borrowed):
            self._requests.detach()  # its connections are not ours


class Connections:
    """A `Pool`, as one `TokenSession` may use it: on its own event loop, until it is closed.

    owned: whether nobody else uses the pool, so that it is closed with the session.
    """

    def __init__(self, pool: Pool, state: TokenState, *, owned: bool) -> None:
        self._pool, self._state, self._owned = pool, state, owned
        self._session: aiohttp.ClientSession | None = None

    @property
    def unclosed(self) -> bool:
        """Whether there is something that only this session would close."""
        return self._owned and self._pool.unclosed

    def for_requests(self) -> aiohttp.ClientSession:
        """Return the session for requests; made, and tied to the running event loop, at the first use."""
        self._state.check_usable()  # `token()` may have tied it to another loop before
        session = self._session
        if session is None:
            session = self._session = self._pool.for_requests()
        if session.closed:
            raise ConfigurationError("client_session was closed by its owner: close it after this session")
        return session

    async def close(self) -> None:
        """Close what is ours."""
        if self._owned:
            await self._pool.close()
