"""The aiohttp client middleware that carries the token for a session that someone else owns."""

import sys
from collections.abc import Awaitable, Callable, Iterable

import aiohttp
from yarl import URL

from nexudus_async._manager import TokenManager, coordinator_of
from nexudus_async._token import Secret, Token
from nexudus_async._validation import kind_of, parse_origin
from nexudus_async.errors import ConfigurationError

from .netrc_file import is_netrc_default
from .request import AUTHORIZATION, Origins, is_buffered
from .tracebacks import hide_what_was_sent
from .unauthorized import UNAUTHORIZED, Unauthorized


class _Ours(Secret):
    """A header that a middleware of this package has set.

    It is not the caller's own when the same request comes by again, as inside a middleware that retries.
    """

    __slots__ = ()


class BearerMiddleware:
    """An aiohttp client middleware that carries the token of `manager` to `origins` (aiohttp 3.12 and later).

    For sessions that someone else owns: `aiohttp.ClientSession(middlewares=(BearerMiddleware(manager, [origin]),))`.
    It runs on every redirect hop and checks the origin of each. A request that has an `Authorization` header, from
    its caller, the session, `auth=`, the URL or netrc's entry for the host, is left alone, and so is its 401.

    One object may serve several sessions. Making it raises `ConfigurationError` for no origin, for what is not one,
    and for plain http to another machine. A request raises what `TokenManager.token` raises, and then nothing is sent.
    """

    def __init__(
        self,
        manager: TokenManager,
        origins: Iterable[str | URL] | str | URL | Origins,
        *,
        allow_insecure_http: bool = False,
    ) -> None:
        if not isinstance(manager, TokenManager):
            raise ConfigurationError(f"manager must be a TokenManager, such as session.manager, not {kind_of(manager)}")
        self._manager, self._coordinator = manager, coordinator_of(manager)
        self._origins = origins if isinstance(origins, Origins) else _origins(origins, allow_insecure_http)
        self._unauthorized = Unauthorized(self._coordinator)

    async def __call__(
        self,
        request: aiohttp.ClientRequest,
        handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
    ) -> aiohttp.ClientResponse:
        """Send `request` by `handler`, with the token where it belongs."""
        headers = request.headers
        if not self._origins.cover(request.url):
            self._origins.tell_of_neighbour(request.url)
            return await handler(request)
        if await _is_callers_own(request):
            return await handler(request)
        token, response = await self._send(request, handler, None)
        if response.status != UNAUTHORIZED:
            if token is not self._coordinator.state.proven:
                self._unauthorized.accepted(token, response.status)
            return response
        try:
            replay = self._unauthorized.replay_of(
                token, request.method, request.url,
                carried=headers.get(AUTHORIZATION) == token.authorization, replayable=is_buffered(request),
            )  # fmt: skip
        except BaseException:
            response.close()  # nobody will read it
            raise
        if replay is None:
            return response
        response.release()  # before the wait: its connection may be the last of the pool
        token, response = await self._send(request, handler, await replay.token())
        replay.answered(token, response.status)
        return response

    async def _send(
        self,
        request: aiohttp.ClientRequest,
        handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
        token: Token | None,
    ) -> tuple[Token, aiohttp.ClientResponse]:
        """Send with this token, or with the newest."""
        token = token or self._manager.current() or await self._coordinator.token_to_send()
        request.headers[AUTHORIZATION] = _Ours(token.authorization)
        handled = sys.exception()
        try:
            return token, await handler(request)
        except BaseException as exc:
            hide_what_was_sent(exc, handled)
            raise


def _origins(named: Iterable[str | URL] | str | URL, allow_insecure_http: bool) -> Origins:
    several = [named] if isinstance(named, str | URL) else list(named)
    if not several:
        raise ConfigurationError("origins must name at least one, such as https://spaces.nexudus.com")
    return Origins(parse_origin("origins", each, allow_insecure_http=allow_insecure_http) for each in several)


async def _is_callers_own(request: aiohttp.ClientRequest) -> bool:
    """Tell whether a request has a header that is neither ours nor a `default` entry of netrc."""
    header = request.headers.get(AUTHORIZATION)
    return header is not None and not isinstance(header, _Ours) and not await is_netrc_default(request)


def unauthorized_of(middleware: BearerMiddleware) -> Unauthorized:
    """Return what decides about a 401, for the session that the middleware belongs to."""
    return middleware._unauthorized  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - for this


def origins_of(middleware: BearerMiddleware) -> Origins:
    """Return the origins that the token goes to."""
    return middleware._origins  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - for this
