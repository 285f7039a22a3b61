"""The aiohttp sessions that requests and token requests go through: made at the first use, closed if they are ours."""

import asyncio

import aiohttp

from nexudus_async._ratelimit.gate import Gate
from nexudus_async._refresh.state import ELSEWHERE, TokenState
from nexudus_async.errors import ConfigurationError, SessionClosedError

from .aiohttp_internals import own_session, token_session, token_session_like


class Connections:
    """What one `TokenSession` sends through.

    borrowed: the session of somebody else, which is never closed here; None: an own one.
    """

    def __init__(self, borrowed: aiohttp.ClientSession | None, state: TokenState, gate: Gate) -> None:
        self._borrowed, self._state, self._gate = borrowed, state, gate
        self._session: aiohttp.ClientSession | None = None
        self._token_session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def unclosed(self) -> bool:
        """Whether a session of our own has been made."""
        return self._token_session is not None

    def for_requests(self) -> aiohttp.ClientSession:
        """Return the session for requests; made, and tied to the running event loop, at the first use."""
        loop, session = asyncio.get_running_loop(), self._session
        if session is None or loop is not self._loop or self._state.closed:
            session = self._bind(loop)
        if session.closed:
            raise ConfigurationError("client_session was closed by its owner: close it after this session")
        return session

    def for_tokens(self) -> aiohttp.ClientSession:
        """Return the session for token requests: a pool of their own, with the settings of a borrowed session."""
        if self._token_session is None:
            twin = token_session() if self._borrowed is None else token_session_like(self._borrowed)
            if twin is None:
                return self.for_requests()
            self._token_session = twin
        return self._token_session

    async def close(self) -> None:
        """Close what is ours."""
        for session in (self._token_session, self._session if self._borrowed is None else None):
            if session is not None:
                await session.close()

    def _bind(self, loop: asyncio.AbstractEventLoop) -> aiohttp.ClientSession:
        if self._state.closed:
            raise SessionClosedError("the session is closed: make a new one")
        if self._loop is not None:
            raise ConfigurationError(ELSEWHERE)
        self._state.check_usable()  # `token()` may have tied it to another loop before
        self._loop = loop
        self._session = self._borrowed if self._borrowed is not None else own_session(self._gate)
        return self._session
