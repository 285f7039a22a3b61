"""All that this package needs of aiohttp's private parts, each with a fall-back: a new release is one file's work.

- The sessions that requests and token requests go through. Token requests have a connection pool of their own: in a
  shared one they would queue behind thousands of requests, or behind responses that somebody reads slowly, while
  everybody waits for the token. It keeps no connection alive (`force_close`): one that the server has closed meanwhile
  looks like a lost answer, and a lost answer costs a refresh token.
- The connector that holds requests back during a pause.
- netrc, which aiohttp reads for a session that trusts the environment.
- A stream for a body that was read already.
- The names of aiohttp's types.

Where a private name is gone, its value is aiohttp's default, a lent session is used as it is, nothing is held back, and
a body that was read can only be had whole.
`tests/http/test_aiohttp_internals.py` fails when that happens.
"""
# pyright: reportPrivateUsage=false

import asyncio
import copy
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import aiohttp
from aiohttp.hdrs import AUTHORIZATION
from multidict import CIMultiDict
from yarl import URL

from nexudus_async._ratelimit.gate import TICKET, Gate, HeldBack
from nexudus_async._token import Secret
from nexudus_async._validation import origin_key
from nexudus_async.errors import ConfigurationError

from .netrc_file import netrc_entries

if TYPE_CHECKING:
    from aiohttp.client import _RequestOptions, _WSConnectOptions
    from aiohttp.connector import Connection
    from aiohttp.typedefs import LooseHeaders as LooseHeaders  # noqa: PLC0414 - for the others

    class RequestOptions(_RequestOptions, total=False):
        """The keywords of `ClientSession.request`."""

    class WSConnectOptions(_WSConnectOptions, total=False):
        """The keywords of `ClientSession.ws_connect`."""

        decode_text: bool


SESSION_SETTINGS: Final = (
    "_read_bufsize",
    "_max_line_size",
    "_max_field_size",
    "_max_headers",  # since 3.13
    "_default_proxy",
    "_default_proxy_auth",  # until 4
    "_default_ssl",  # after 3.14
)
"""What a session keeps of its constructor's arguments without a public name, besides its middlewares."""
CONNECTOR_SETTINGS: Final = ("_ssl", "_resolver", "_family", "_happy_eyeballs_delay", "_interleave")
"""What makes a connection lead where it does: without these there is no second connector like the first."""
CONNECTOR_EXTRAS: Final = ("_local_addr_infos", "_socket_factory", "_timeout_ceil_threshold", "_ssl_shutdown_timeout")
"""What does so as well, but has no constructor argument that takes the stored form in every version."""
POOL_ONLY: Final = frozenset(
    {"close", "_close", "_close_immediately", "_cleanup", "_cleanup_closed", "_cleanup_closed_period"}
)
"""What a subclass of a connector may replace without a connection leading elsewhere."""

UPLOAD_TRACKER: Final = "_upload_tracker"
"""Where a request keeps the `upload_tracker` that is for one sending (aiohttp 3.14)."""
BODY: Final = "_body"
"""Where a request keeps the body that aiohttp closes when it fails."""
MIDDLEWARES: Final = "_middlewares"
"""Where a session keeps its middlewares."""
COOKIE_JAR: Final = "_cookie_jar"
"""Where a session keeps its cookies."""
TRACE_CONFIGS: Final = "_trace_configs"
"""Where a session keeps its trace configs, those included that a tool puts into every session that is made."""


def own_session(gate: Gate | None) -> aiohttp.ClientSession:
    """Return a session for requests. No cookie jar: one account's cookie must not travel with another's token."""
    connector = aiohttp.TCPConnector() if gate is None else _GatedConnector(gate)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def token_session() -> aiohttp.ClientSession:
    """Return a session for token requests."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), cookie_jar=aiohttp.DummyCookieJar())


def token_session_like(borrowed: aiohttp.ClientSession) -> aiohttp.ClientSession | None:
    """Return a session for token requests with the TLS, address, proxy and tracing settings and the limits of another.

    None where that cannot be done faithfully, for a connector that connects in a way of its own (SOCKS): token
    requests then go through `borrowed` itself.
    """
    connector = _connector_like(borrowed.connector)
    if connector is None:
        return None
    return _session_like(borrowed, connector=connector, trace_configs=list(borrowed.trace_configs))


def untraced_session_like(session: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """Return a session with the settings of another, and its connector, but without trace configs."""
    twin = _session_like(session, connector=session.connector, connector_owner=False)
    if hasattr(twin, TRACE_CONFIGS):
        setattr(twin, TRACE_CONFIGS, [])
    return twin


def without_cookies(session: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """Return a session that is another one, its connections included, but for its cookie jar: it keeps no cookies.

    To be detached, not closed. Raises `ConfigurationError` where that cannot be done.
    """
    if isinstance(session.cookie_jar, aiohttp.DummyCookieJar):
        return session
    if not hasattr(session, COOKIE_JAR):
        raise ConfigurationError(
            "client_session keeps cookies, and one account's would travel with another's token: make it with "
            "cookie_jar=aiohttp.DummyCookieJar()"
        )
    twin = copy.copy(session)
    setattr(twin, COOKIE_JAR, aiohttp.DummyCookieJar())
    return twin


def _session_like(session: aiohttp.ClientSession, **options: Any) -> aiohttp.ClientSession:
    twin = aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=CIMultiDict(session.headers),
        skip_auto_headers=session.skip_auto_headers,
        version=cast(aiohttp.HttpVersion, session.version),
        json_serialize=session.json_serialize,
        requote_redirect_url=session.requote_redirect_url,
        trust_env=session.trust_env,
        **options,
    )
    _copy_settings(SESSION_SETTINGS, session, twin)
    return twin


def check_borrowed(session: aiohttp.ClientSession, base_url: URL) -> None:
    """Raise `ConfigurationError` for a session that cannot carry our requests to `base_url`."""
    if not isinstance(session, aiohttp.ClientSession):
        raise ConfigurationError(f"client_session must be an aiohttp.ClientSession, not {type(session).__name__}")
    if session.closed:
        raise ConfigurationError("client_session is closed: pass an open one, or none")
    if AUTHORIZATION in CIMultiDict(session.headers) or getattr(session, "auth", None) is not None:
        raise ConfigurationError(
            "client_session sets Authorization on every request, which would win over the token: "
            "make it without that header and without auth="
        )
    theirs: URL | None = getattr(session, "_base_url", None)
    if theirs is not None and origin_key(theirs) != origin_key(base_url):
        raise ConfigurationError(
            f"client_session has the base_url {theirs.origin()}, and the tokens are for {base_url.origin()}: "
            "pass base_url= to match, or make client_session without one"
        )


def _connector_like(connector: aiohttp.BaseConnector | None) -> aiohttp.BaseConnector | None:
    if isinstance(connector, aiohttp.UnixConnector) and _connects_as(aiohttp.UnixConnector, connector):
        return aiohttp.UnixConnector(connector.path, force_close=True)
    if not isinstance(connector, aiohttp.TCPConnector) or not _connects_as(aiohttp.TCPConnector, connector):
        return None
    if not all(hasattr(connector, name) for name in CONNECTOR_SETTINGS):
        return None
    settings: dict[str, Any] = {name.removeprefix("_"): getattr(connector, name) for name in CONNECTOR_SETTINGS}
    twin = aiohttp.TCPConnector(force_close=True, use_dns_cache=connector.use_dns_cache, **settings)
    _copy_settings(CONNECTOR_EXTRAS, connector, twin)
    return twin


def _connects_as(base: type[aiohttp.BaseConnector], connector: aiohttp.BaseConnector) -> bool:
    """Tell whether nothing between `base` and the object has replaced a part of `base` that leads to a connection.

    A connector for SOCKS is a `TCPConnector`, too, and its twin would go round the proxy.
    """
    subclasses = type(connector).__mro__[: type(connector).__mro__.index(base)]
    replaced = {name for each in subclasses for name in vars(each) if hasattr(base, name) and not name.startswith("__")}
    replaced |= {name for name in vars(connector) if callable(getattr(base, name, None))}
    return replaced <= POOL_ONLY


def _copy_settings(names: tuple[str, ...], source: object, target: object) -> None:
    for name in names:
        if hasattr(source, name):
            setattr(target, name, getattr(source, name))


class _GatedConnector(aiohttp.TCPConnector):
    """A connector that holds back what was waiting in the pool's queue when a pause began.

    Thousands of requests may stand there, already past the gate, and would be sent one by one during the pause as
    connections come free.
    """

    def __init__(self, gate: Gate) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] - aiohttp names an untyped tuple
        self._gate = gate

    async def connect(self, req: aiohttp.ClientRequest, *args: Any, **kwargs: Any) -> "Connection":
        """Return a connection, or raise `HeldBack` and keep it in the pool."""
        connection = await super().connect(req, *args, **kwargs)
        if self._gate.engaged and not self._gate.admits(TICKET.get()) and _can_be_held_back(req):
            connection.release()
            raise _held_back(req)
        return connection


def _held_back(req: Any) -> HeldBack:
    held = HeldBack(req)
    if held.body is getattr(req, "_EMPTY_BODY", held):  # aiohttp 4 has an object for no body
        held.body = b""
    if hasattr(req, BODY):
        setattr(req, BODY, None)  # or aiohttp would close the file that is still to be sent
    return held


def _can_be_held_back(req: aiohttp.ClientRequest) -> bool:
    """Tell whether a request can be begun again: ours, without an upload tracker, with a body that stays open."""
    untracked = getattr(req, UPLOAD_TRACKER, "unknown" if hasattr(aiohttp, "UploadTracker") else None) is None
    stays_open = hasattr(req, BODY) or not isinstance(type(req).body, property)  # aiohttp 3.12.0 closes none
    return isinstance(req.headers.get(AUTHORIZATION), Secret) and untracked and stays_open


def let_stream(response: aiohttp.ClientResponse, body: bytes) -> None:
    """Let `body`, which was read by `response.read()`, be read from `response.content` as well."""
    with suppress(ImportError, TypeError):
        from aiohttp.base_protocol import BaseProtocol  # noqa: PLC0415 - where it is gone, the stream stays empty

        loop = asyncio.get_running_loop()
        stream = aiohttp.StreamReader(BaseProtocol(loop), len(body), loop=loop)
        stream.feed_data(body)
        stream.feed_eof()
        response.content = stream


async def heed_netrc(session: aiohttp.ClientSession, target: URL) -> aiohttp.ClientSession | None:
    """Return what a request with our token is sent through, or None where netrc names the host of `target`.

    For a session that trusts the environment. What netrc says of a host is authorization of the caller's own, and
    aiohttp refuses a request that has two. A `default` entry names nobody: aiohttp would refuse, or replace, our header
    for its sake, so what is returned then puts it on later.
    """
    entries = await netrc_entries()
    if target.host in entries:
        return None
    if "default" not in entries:
        return session
    return cast(aiohttp.ClientSession, _BesideNetrc(session)) if hasattr(session, MIDDLEWARES) else None


class _BesideNetrc:
    """Sends requests of ours, each through a copy of the session whose first middleware sets our header.

    A middleware runs when aiohttp is done with netrc. A copy, because a WebSocket takes no middlewares of its own.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, method: str, url: URL, *, headers: "LooseHeaders", **options: Any) -> Any:
        return await self._send("request", method, url, headers=headers, **options)

    async def ws_connect(self, url: URL, *, headers: "LooseHeaders", **options: Any) -> Any:
        return await self._send("ws_connect", url, headers=headers, **options)

    async def _send(self, call: str, *where: Any, headers: "LooseHeaders", **options: Any) -> Any:
        others = CIMultiDict(headers)
        carry = _Carry(where[-1], others.pop(AUTHORIZATION))
        if options.get("middlewares") is not None:  # the caller's, in place of the session's
            options["middlewares"] = (carry, *options["middlewares"])
        session = copy.copy(self._session)
        try:
            setattr(session, MIDDLEWARES, (carry, *getattr(session, MIDDLEWARES)))
            return await getattr(session, call)(*where, headers=others, **options)
        finally:
            session.detach()  # the connector is not ours to close
            carry.authorization = None


class _Carry:
    """A client middleware that sets our header at one origin, as if `headers=` had."""

    def __init__(self, url: URL, authorization: str) -> None:
        self._origin = origin_key(url)
        self.authorization: str | None = authorization
        """None when the request is over: aiohttp keeps its last middlewares."""

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self.authorization is not None and origin_key(request.url) == self._origin:
            request.headers[AUTHORIZATION] = self.authorization
        return await handler(request)
