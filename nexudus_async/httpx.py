"""An httpx `Auth` that carries the token. Needs the extra `httpx`: pip install 'nexudus-async[httpx]'.

    async with TokenSession(credentials) as session:
        async with httpx.AsyncClient(base_url="https://spaces.nexudus.com", auth=NexudusAuth(session)) as client:
            response = await client.get("/api/public/teams/my")

For services that have an httpx client already. What a 401 leads to is decided where it is for aiohttp, and what is
learnt from it, session and `Auth` know together. Throttling and pacing are not here: a 409 or 429 is the caller's.
"""

import sys
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Final, NoReturn

from yarl import URL

from ._http.middleware import BearerMiddleware, origins_of, unauthorized_of
from ._http.request import AUTHORIZATION, REPLAYED_AFTER_REDIRECT
from ._http.unauthorized import UNAUTHORIZED
from ._manager import TokenManager, coordinator_of
from ._session import TokenSession
from ._token import Token
from ._validation import kind_of
from .errors import ConfigurationError, without_frames

try:
    import httpx
except ImportError as _missing:
    raise ImportError("nexudus_async.httpx needs httpx: pip install 'nexudus-async[httpx]'") from _missing

__all__ = ["NexudusAuth"]

_OURS: Final = "nexudus_async"
"""The extension of a request that says which header is ours: a redirect, or a second sending, keeps both."""
_PORTS: Final = {"http": 80, "https": 443}


class NexudusAuth(httpx.Auth):
    """An httpx `Auth` that carries the token to its origins: `httpx.AsyncClient(auth=NexudusAuth(session))`.

    tokens: a `TokenSession`, or a `TokenManager` with `origins`. It stays its owner's to close.
    origins: where the token goes; scheme, host and port must be equal. None: those of the session.
    allow_insecure_http: allow plain http to other machines, where the token can be read on the way.

    A request that has an `Authorization` header, or user info in its URL, is left alone, and so is its 401. httpx
    strips the header where a redirect leaves the origin, another of `origins` included. A 401 leads to one refresh,
    shared with all who were refused, and to one replay, if the body is empty or bytes and, after a redirect, if the
    method is GET, HEAD or OPTIONS. Raises what `TokenManager.token` raises, and then sends nothing.

    One object may serve several clients of one event loop. Only `httpx.AsyncClient`: with `httpx.Client` it raises
    `ConfigurationError`, as it does for origins that are none.
    """

    def __init__(
        self,
        tokens: TokenSession | TokenManager,
        origins: Iterable[str | URL] | str | URL | None = None,
        *,
        allow_insecure_http: bool = False,
    ) -> None:
        if not isinstance(tokens, TokenSession | TokenManager):
            raise ConfigurationError(f"tokens must be a TokenSession or a TokenManager, not {kind_of(tokens)}")
        if isinstance(tokens, TokenSession):
            manager, its_own = tokens.manager, tokens.middleware
        else:
            manager, its_own = tokens, None
        if origins is not None or its_own is None:
            named = BearerMiddleware(manager, origins or (), allow_insecure_http=allow_insecure_http)
        else:
            named = its_own
        self._manager, self._coordinator, self._origins = manager, coordinator_of(manager), origins_of(named)
        self._unauthorized = unauthorized_of(its_own or named)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send `request` with the token where it belongs; httpx calls this."""
        url = _url_of(request)
        if request.url.userinfo:
            request = next(httpx.BasicAuth(request.url.username, request.url.password).auth_flow(request))
        if not self._origins.cover(url) or _is_callers_own(request):
            yield request
            return
        self._check_upgrade(url)
        token = self._manager.current() or await self._coordinator.token_to_send()
        response = yield _with_token(request, token)
        carried = response.request.headers.get(AUTHORIZATION) == token.authorization
        if response.status_code != UNAUTHORIZED:
            if carried and token is not self._coordinator.state.proven:
                self._unauthorized.accepted(token, response.status_code)
            return
        replayable = isinstance(request.stream, httpx.ByteStream) and (
            not response.history or request.method in REPLAYED_AFTER_REDIRECT
        )
        replay = self._unauthorized.replay_of(token, request.method, url, carried=carried, replayable=replayable)
        if replay is None:
            return
        await response.aread()  # httpx wants it whole; the refresh is under way meanwhile
        token = await replay.token()
        response = yield _with_token(request, token)
        replay.answered(token, response.status_code)

    def sync_auth_flow(self, request: httpx.Request) -> NoReturn:  # noqa: ARG002 - httpx passes it
        """Raise `ConfigurationError`: tokens are asked for on an event loop."""
        raise ConfigurationError("NexudusAuth needs httpx.AsyncClient: httpx.Client has no event loop to refresh on")

    def _check_upgrade(self, url: URL) -> None:
        """Raise `ConfigurationError` where a redirect could take the token to an origin that was not named.

        httpx strips the header where the origin changes, but for http to https of one host, on the default ports.
        """
        if (url.scheme, url.port) == ("http", _PORTS["http"]) and not self._origins.cover(
            URL.build(scheme="https", host=url.raw_host or "", port=_PORTS["https"])
        ):
            raise ConfigurationError(
                f"httpx takes the token along when {url.origin()} redirects to https: name https://{url.host} in "
                "origins too, or instead"
            )


def _url_of(request: httpx.Request) -> URL:
    """Return where httpx sends a request, by its own reading of the URL: two parsers may differ on an odd one."""
    url = request.url
    port = url.port or _PORTS.get(url.scheme)
    return URL.build(scheme=url.scheme, host=url.host, port=port if url.host else None, path=url.path)


def _is_callers_own(request: httpx.Request) -> bool:
    """Tell whether a request has a header that is not ours, from its first sending or the hop before."""
    header = request.headers.get(AUTHORIZATION)
    return header is not None and header != request.extensions.get(_OURS)


def _with_token(request: httpx.Request, token: Token) -> httpx.Request:
    """Return the request, with the token on it."""
    request.headers[AUTHORIZATION] = token.authorization
    extensions: dict[str, Any] = dict(request.extensions)
    trace: Any = extensions.get("trace")
    if not isinstance(trace, _HidingTrace):
        trace = _HidingTrace(trace)
    request.extensions = extensions | {_OURS: token.authorization, "trace": trace}
    return request


class _HidingTrace:
    """A `trace` of httpcore that takes the frames that hold the header, as bytes, out of an error of its sending.

    own: the caller's own, which is called as before.
    """

    def __init__(self, own: Any) -> None:
        self._own = own
        self._handled: BaseException | None = None
        """What the caller was handling when the request was made: none of ours."""

    async def __call__(self, name: str, info: dict[str, Any]) -> None:
        match name.partition(".")[2]:
            case "send_request_headers.started":
                self._handled = sys.exception()
            case "send_request_headers.failed":
                without_frames(info["exception"], self._handled)
                self._handled = None
            case _:
                pass
        if self._own is not None:
            await self._own(name, info)
