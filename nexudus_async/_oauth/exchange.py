"""One request to the token endpoint, over aiohttp, and what became of it."""

from collections.abc import Callable
from typing import Final

import aiohttp
from yarl import URL

from nexudus_async._clock import Clock
from nexudus_async._refresh.policy import RefreshPolicy
from nexudus_async._token import SecretBytes, Token
from nexudus_async.errors import (
    ConfigurationError,
    EndpointUnavailableError,
    MalformedResponseError,
    NexudusAuthError,
    TokenEndpointError,
)

from .protocol import Answer, Fate, GrantRequest, fate_of, parse_answer

MAX_BODY: Final = 1024 * 1024
"""Bytes. A token answer is under 2 KiB; more than this is not one, and is not read to its end."""

_NOT_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientConnectorDNSError,
    aiohttp.ClientSSLError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.ClientProxyConnectionError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)


class AttemptFailed(Exception):  # noqa: N818 - it never leaves this room
    """One try failed with `error`, and `fate` says whether another is safe."""

    def __init__(self, error: TokenEndpointError, fate: Fate) -> None:
        super().__init__(str(error))
        self.error = error
        self.fate = fate


class Exchange:
    """Sends requests to one URL.

    session: what they go through, or a function that returns it when the first is sent.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession | Callable[[], aiohttp.ClientSession],
        url: URL,
        policy: RefreshPolicy,
        clock: Clock,
    ) -> None:
        self._session, self._url, self._clock = session, url, clock
        self._default_lifetime = policy.default_lifetime
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=policy.connect_timeout)

    async def post(self, request: GrantRequest) -> Token:
        """Send one request. Raises `AttemptFailed`, or `ConfigurationError` for an unusable session."""
        try:
            answer = await self._send(request)
        except NexudusAuthError:  # a closed session: these are aiohttp errors too, but say nothing about an answer
            raise
        except _NOT_SENT as exc:
            raise AttemptFailed(self._unavailable("could not be reached", exc), Fate.NOT_SENT) from exc
        except (aiohttp.ClientPayloadError, aiohttp.ContentTypeError) as exc:
            cut_off = MalformedResponseError("the token endpoint's answer was cut off")
            raise AttemptFailed(cut_off, Fate.LOST) from exc
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise AttemptFailed(self._unavailable("dropped the request", exc), Fate.LOST) from exc
        try:
            return parse_answer(request, answer, self._default_lifetime)
        except TokenEndpointError as error:
            raise AttemptFailed(error, fate_of(error)) from None

    async def _send(self, request: GrantRequest) -> Answer:
        session = self._session() if callable(self._session) else self._session
        if session.closed:
            raise ConfigurationError("the aiohttp session for token requests is closed: close it after the manager")
        sent_at = self._clock.wall()
        async with session.post(
            self._url,
            data=request.form,
            headers=request.headers,
            timeout=self._timeout,
            allow_redirects=False,
            raise_for_status=False,
            middlewares=(_without_authorization,),
        ) as response:
            body = await _read_at_most(response, MAX_BODY)
            return Answer(response.status, response.headers, body, sent_at, self._clock.wall())

    def _unavailable(self, what: str, cause: BaseException) -> EndpointUnavailableError:
        return EndpointUnavailableError(f"the token endpoint at {self._url.host} {what} ({type(cause).__name__})")


async def _without_authorization(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send a token request without what aiohttp finds for its host in netrc: the service asks for none."""
    request.headers.pop(aiohttp.hdrs.AUTHORIZATION, None)
    return await handler(request)


async def _read_at_most(response: aiohttp.ClientResponse, limit: int) -> SecretBytes:
    """Read the body; of one that is larger than `limit` bytes only so much that nobody can take it for JSON."""
    parts: list[SecretBytes] = []
    while limit >= 0 and (part := await response.content.read(limit + 1)):
        parts.append(SecretBytes(part))
        limit -= len(part)
    return SecretBytes(b"" if limit < 0 else b"".join(parts))
