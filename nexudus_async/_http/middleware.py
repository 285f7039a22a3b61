"""The one rule of what a request carries and what a 401 means, and the aiohttp client middleware that applies it.

A request to one of the origins carries `Authorization: Bearer …` (RFC 6750, section 2.1), unless its caller set that
header; a request to any other origin does not. A 401 to our header leads to one renewal, shared with everyone who was
refused with the same token, and to one replay. The second 401 is the caller's to see.

`TokenSession` and `BearerMiddleware` both go through `BearerRule`. What differs is what they can see of a request.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import aiohttp
from yarl import URL

from nexudus_async._manager import TokenManager
from nexudus_async._token import Token
from nexudus_async._validation import check_methods, origin_key, parse_origin
from nexudus_async.errors import ConfigurationError

from .aiohttp_internals import is_netrc_default
from .futile import FutileRenewals

__all__ = ["AUTHORIZATION", "BearerMiddleware", "BearerRule"]

AUTHORIZATION: Final = aiohttp.hdrs.AUTHORIZATION
UNAUTHORIZED: Final = 401


class BearerRule:
    """Decides for one manager and its origins. Everything here is synchronous; what it returns may be awaited."""

    def __init__(self, manager: TokenManager, origins: Iterable[URL]) -> None:
        self.manager = manager
        self.origins = frozenset(origin_key(origin) for origin in origins)
        self._futile = FutileRenewals()

    def covers(self, url: URL) -> bool:
        """Tell whether a request to `url` carries the token."""
        return origin_key(url) in self.origins

    def successor_after_401(
        self, token: Token, method: str, url: URL, *, replayable: bool
    ) -> Callable[[], Awaitable[Token]] | None:
        """Decide what a 401 to `token` leads to: call and await the result for the token to replay with.

        None: the 401 is the caller's answer. That includes bodies that cannot be sent again; their renewal is
        started, and helps the next call.
        """
        now = self.manager.clock.monotonic()
        if self.manager.would_force(token):
            if not self._futile.allow(method, url.raw_path, token.generation, now):
                return None
            if not replayable:
                self._futile.unproven(method, url.raw_path, token.generation, now)
        successor = self.manager.successor_of(token)
        return successor if replayable else None

    def replayed(self, token: Token, method: str, url: URL, status: int) -> None:
        """Learn from the answer to the replay with `token`."""
        if status == UNAUTHORIZED:
            self._futile.refused(method, url.raw_path, token.generation, self.manager.clock.monotonic())
        else:
            self._futile.helped(method, url.raw_path)


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
        check_methods("manager", manager, ("token", "current", "reject"), "a TokenManager, such as session.manager")
        several = [origins] if isinstance(origins, str | URL) else list(origins)
        if not several:
            raise ConfigurationError("origins must name at least one, such as https://spaces.nexudus.com")
        parsed = [parse_origin("origins", each, allow_insecure_http=allow_insecure_http) for each in several]
        self.rule = BearerRule(manager, parsed)

    async def __call__(
        self,
        request: aiohttp.ClientRequest,
        handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
    ) -> aiohttp.ClientResponse:
        """Send `request` by `handler`, with the token where it belongs."""
        rule, headers = self.rule, request.headers
        if origin_key(request.url) not in rule.origins or (
            AUTHORIZATION in headers and not await is_netrc_default(request)
        ):
            return await handler(request)
        token = rule.manager.current() or await rule.manager.token()
        headers[AUTHORIZATION] = token.authorization
        response = await handler(request)
        if response.status != UNAUTHORIZED:
            return response
        replayable = not request.body or isinstance(request.body, aiohttp.BytesPayload)
        successor = rule.successor_after_401(token, request.method, request.url, replayable=replayable)
        if successor is None:
            return response
        response.release()  # before the wait: its connection may be the last of the pool
        token = await successor()
        headers[AUTHORIZATION] = token.authorization
        response = await handler(request)
        rule.replayed(token, request.method, request.url, response.status)
        return response
