"""The aiohttp sessions that requests and token requests go through.

Token requests have a connection pool of their own. In a shared one they would queue behind thousands of requests, or
behind responses that somebody reads slowly, while everybody waits for the token. It keeps no connection alive
(`force_close`): one that the server has closed meanwhile looks like a lost answer, and a lost answer costs a refresh
token.
"""

from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.connector import Connection
from aiohttp.hdrs import AUTHORIZATION
from multidict import CIMultiDict

from nexudus_async._ratelimit.gate import TICKET, Gate, HeldBack
from nexudus_async._token import Secret
from nexudus_async.errors import ConfigurationError

if TYPE_CHECKING:
    from aiohttp.tracing import Trace


def own_session(gate: Gate) -> aiohttp.ClientSession:
    """Return a session for requests. No cookie jar: one account's cookie must not travel with another's token."""
    return aiohttp.ClientSession(connector=_GatedConnector(gate), cookie_jar=aiohttp.DummyCookieJar())


def token_session() -> aiohttp.ClientSession:
    """Return a session for token requests."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), cookie_jar=aiohttp.DummyCookieJar())


def token_session_like(borrowed: aiohttp.ClientSession) -> aiohttp.ClientSession | None:
    """Return a session for token requests with the TLS, address, proxy and tracing settings of `borrowed`.

    None where that cannot be done faithfully, for connectors of any other class than aiohttp's own two: token
    requests then go through `borrowed` itself. aiohttp offers no public way to read these settings back.
    """
    connector = _connector_like(borrowed.connector)
    if connector is None:
        return None
    own: dict[str, Any] = vars(borrowed)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=CIMultiDict(borrowed.headers),
        proxy=own.get("_default_proxy"),
        proxy_auth=own.get("_default_proxy_auth"),
        trust_env=borrowed.trust_env,
        trace_configs=list(borrowed.trace_configs),
    )


class _GatedConnector(aiohttp.TCPConnector):
    """A connector that holds back what was waiting in the pool's queue when a pause began.

    Thousands of requests may stand there, already past the gate, and would be sent one by one during the pause as
    connections come free.
    """

    def __init__(self, gate: Gate) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] - aiohttp names an untyped tuple
        self._gate = gate

    async def connect(
        self, req: aiohttp.ClientRequest, traces: "list[Trace]", timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Return a connection, or raise `HeldBack` and keep it in the pool."""
        connection = await super().connect(req, traces, timeout)
        if self._gate.engaged and _carries_our_token(req) and not self._gate.admits(TICKET.get()):
            connection.release()
            held = HeldBack(req)
            vars(req)["_body"] = None  # or aiohttp would close the file that is still to be sent
            raise held
        return connection


def check_borrowed(session: aiohttp.ClientSession) -> None:
    """Raise `ConfigurationError` for a session that cannot carry our requests."""
    if not isinstance(session, aiohttp.ClientSession):
        raise ConfigurationError(f"client_session must be an aiohttp.ClientSession, not {type(session).__name__}")
    if session.closed:
        raise ConfigurationError("client_session is closed: pass an open one, or none")
    if "Authorization" in session.headers or session.auth is not None:
        raise ConfigurationError(
            "client_session sets Authorization on every request, which would win over the token: "
            "make it without that header and without auth="
        )


def _carries_our_token(req: aiohttp.ClientRequest) -> bool:
    """Tell whether a request can be held back: one with an upload tracker can be begun once only."""
    return isinstance(req.headers.get(AUTHORIZATION), Secret) and vars(req).get("_upload_tracker") is None


def _connector_like(connector: aiohttp.BaseConnector | None) -> aiohttp.BaseConnector | None:
    if type(connector) is aiohttp.UnixConnector:
        return aiohttp.UnixConnector(connector.path, force_close=True)
    if type(connector) is not aiohttp.TCPConnector:
        return None
    own: dict[str, Any] = vars(connector)
    try:
        twin = aiohttp.TCPConnector(
            force_close=True, ssl=own["_ssl"], resolver=own["_resolver"], family=own["_family"],
            happy_eyeballs_delay=own["_happy_eyeballs_delay"], interleave=own["_interleave"],
        )  # fmt: skip
    except KeyError:  # another aiohttp keeps them elsewhere
        return None
    # These two have no constructor argument that takes the stored form in every supported version.
    vars(twin).update({name: own[name] for name in ("_local_addr_infos", "_socket_factory") if name in own})
    return twin
