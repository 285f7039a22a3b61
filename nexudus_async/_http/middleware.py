"""The aiohttp client middleware that carries the token for a session that someone else owns."""

from collections.abc import Awaitable, Callable, Iterable

import aiohttp
from yarl import URL

from nexudus_async._manager import TokenManager, coordinator_of
from nexudus_async._validation import kind_of, parse_origin
from nexudus_async.errors import ConfigurationError

from .aiohttp_internals import is_netrc_default
from .request import AUTHORIZATION, Origins, is_buffered
from .unauthorized import UNAUTHORIZED, Unauthorized


class BearerMiddleware:
    """An aiohttp client middleware that carries the token of `manager` to `origins` (aiohttp 3.12 and later).

    For sessions that someone else owns: `aiohttp.ClientSession(middlewares=(BearerMiddleware(manager, [origin]),))`.
    It runs on every redirect hop and checks the origin of each. A request that has an `Authorization` header, from
    its caller, the session, `auth=`, the URL or netrc's entry for the host, is left alone, and so is its 401.

    Raises what `TokenManager.token` raises, and then sends nothing. One object may serve several sessions.
    Raises `ConfigurationError` for no origin, for what is not one, and for plain http to another machine.
    """

    def __init__(
        self,
        manager: TokenManager,
        origins: Iterable[str | URL] | str | URL,
        *,
        allow_insecure_http: bool = False,
    ) -> None:
        if not isinstance(manager, TokenManager):
            raise ConfigurationError(f"manager must be a TokenManager, such as session.manager, not {kind_of(manager)}")
        several = [origins] if isinstance(origins, str | URL) else list(origins)
        if not several:
            raise ConfigurationError("origins must name at least one, such as https://spaces.nexudus.com")
        self._manager = manager
        self._origins = Origins(
            parse_origin("origins", each, allow_insecure_http=allow_insecure_http) for each in several
        )
        self._unauthorized = Unauthorized(coordinator_of(manager))

    async def __call__(
        self,
        request: aiohttp.ClientRequest,
        handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
    ) -> aiohttp.ClientResponse:
        """Send `request` by `handler`, with the token where it belongs."""
        headers, manager = request.headers, self._manager
        if not self._origins.cover(request.url) or (AUTHORIZATION in headers and not await is_netrc_default(request)):
            return await handler(request)
        token = manager.current() or await manager.token()
        headers[AUTHORIZATION] = token.authorization
        response = await handler(request)
        if response.status != UNAUTHORIZED:
            return response
        replay = self._unauthorized.replay_of(
            token, request.method, request.url, carried=True, replayable=is_buffered(request)
        )
        if replay is None:
            return response
        response.release()  # before the wait: its connection may be the last of the pool
        token = await replay.token()
        headers[AUTHORIZATION] = token.authorization
        response = await handler(request)
        replay.answered(token, response.status)
        return response


def unauthorized_of(middleware: BearerMiddleware) -> Unauthorized:
    """Return what decides about a 401, for the session that the middleware belongs to."""
    return middleware._unauthorized  # noqa: SLF001 - for this


def origins_of(middleware: BearerMiddleware) -> Origins:
    """Return the origins that the token goes to."""
    return middleware._origins  # noqa: SLF001 - for this
