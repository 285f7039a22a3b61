"""One request for a token, over aiohttp, and what became of it.

Here foreign errors become our own. What they came from is attached without its frames, whose variables hold the form,
and not at all where its text may repeat the answer, or a URL with a JWT in it.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError
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
    with_its_place,
    without_frames,
)

from .failures import Fate, fate_of
from .messages import Answer, GrantRequest
from .protocol import parse_answer
from .words import words

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

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
"""What aiohttp raises before it sends anything."""


class AttemptFailed(Exception):  # noqa: N818 - it never leaves this room
    """One try failed with `error`, and `fate` says whether another is safe."""

    def __init__(self, error: TokenEndpointError, fate: Fate) -> None:
        super().__init__(str(error))
        self.error = error
        self.fate = fate


class Form(aiohttp.BytesPayload):
    """The body of one request. It knows whether aiohttp has begun to send it, whatever a connector may raise."""

    def __init__(self, form: SecretBytes) -> None:
        super().__init__(form, content_type="application/x-www-form-urlencoded")
        self._taken = self._begun = False

    def __bytes__(self) -> bytes:
        return bytes(self._value)

    @property
    def unsent(self) -> bool:
        """Whether aiohttp has taken it and sent nothing. Never with a stand-in for aiohttp, which takes nothing."""
        return self._taken and not self._begun

    @property
    def size(self) -> int | None:
        self._taken = True
        return super().size

    async def write(self, writer: "AbstractStreamWriter") -> None:
        self._begun = True
        await super().write(writer)

    async def write_with_length(self, writer: "AbstractStreamWriter", content_length: int | None) -> None:
        self._begun = True
        await super().write_with_length(writer, content_length)


@runtime_checkable
class HasUntraced(Protocol):
    """What gives a session for token requests, and one that nobody traces for those with a secret in the URL."""

    def untraced(self) -> aiohttp.ClientSession:
        """Return a session without trace configs."""
        ...


class Transport:
    """Sends requests to one origin.

    session: what they go through, or a function that returns it when the first is sent; see `HasUntraced`, too.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession | Callable[[], aiohttp.ClientSession],
        origin: URL,
        policy: RefreshPolicy,
        clock: Clock,
    ) -> None:
        self._session, self._origin, self._clock = session, origin, clock
        self._host = origin.raw_host or ""
        self._default_lifetime = policy.default_lifetime
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=policy.connect_timeout)

    async def post(self, request: GrantRequest, form: Form | None = None) -> Token:
        """Send one request. Raises `AttemptFailed`, or `ConfigurationError` for an unusable session.

        form: the body, for whoever has to know after a cancellation whether it was sent.
        """
        form, session = form or Form(request.form), self._session_for(request)
        if session.closed:
            raise ConfigurationError("the aiohttp session for token requests is closed: close it after the manager")
        sent_at, handled = self._clock.wall(), sys.exception()
        sending = session.post(
            self._url_of(request), data=form, headers=request.headers, timeout=self._timeout,
            skip_auto_headers=() if request.form else ("Content-Type",),
            allow_redirects=False, raise_for_status=False, middlewares=(_without_authorization,),
        )  # fmt: skip
        try:
            async with sending as response:
                body = await read_at_most(response, MAX_BODY)
        except Exception as exc:
            without_frames(exc if isinstance(exc, aiohttp.ClientError | OSError) else with_its_place(exc), handled)
            if isinstance(exc, NexudusAuthError):  # aiohttp errors, too, but they say nothing about an answer
                raise
            failed = self._failure(request, form, exc)  # a connector may be anybody's, and raise anything
            if request.query is not None:
                failed.__cause__ = None  # its text may have the URL
        except BaseException as exc:
            without_frames(exc, handled)
            raise
        else:
            answer = Answer(response.status, response.headers, body, sent_at, self._clock.wall(), self._host)
            return self._token(request, answer)
        raise failed  # not above, or all that it came from would be its context

    def _session_for(self, request: GrantRequest) -> aiohttp.ClientSession:
        if request.query is not None and isinstance(self._session, HasUntraced):
            session = self._session.untraced()
        else:
            session = self._session() if callable(self._session) else self._session
        if request.query is not None and session.trace_configs:
            raise ConfigurationError(
                "the aiohttp session for token requests has trace_configs, which would see the one-time JWT in the "
                "URL: pass a session without, or use TokenSession"
            )
        return session

    def _url_of(self, request: GrantRequest) -> URL:
        path = request.path if request.query is None else f"{request.path}?{request.query}"
        return self._origin.join(URL(path, encoded=True))

    def _token(self, request: GrantRequest, answer: Answer) -> Token:
        try:
            return parse_answer(request, answer, self._default_lifetime)
        except TokenEndpointError as error:
            raise AttemptFailed(error, fate_of(error)) from None

    def _failure(self, request: GrantRequest, form: Form, exc: Exception) -> AttemptFailed:
        """Return what a request without a complete answer amounts to."""
        kind, host = type(exc).__name__, self._host
        if isinstance(exc, _NOT_SENT) or (form.unsent and not isinstance(exc, aiohttp.ClientResponseError)):
            why = words(_why(exc), request.secrets) or kind
            unreachable = EndpointUnavailableError(f"the token endpoint at {host} could not be reached ({why})")
            return _from(exc, AttemptFailed(unreachable, Fate.NOT_SENT))
        if isinstance(exc, aiohttp.ClientResponseError) or isinstance(exc.__cause__, ContentEncodingError):
            unreadable = MalformedResponseError(f"the token endpoint's answer could not be read ({kind})")
            return AttemptFailed(unreadable, Fate.UNREADABLE)
        if isinstance(exc, aiohttp.ClientPayloadError):
            return AttemptFailed(MalformedResponseError("the token endpoint's answer was cut off"), Fate.LOST)
        dropped = AttemptFailed(
            EndpointUnavailableError(f"the token endpoint at {host} dropped the request ({kind})"), Fate.LOST
        )
        # aiohttp puts what it got of an answer into this one.
        half = isinstance(exc, aiohttp.ServerDisconnectedError) and not isinstance(exc.message, str)
        return dropped if half else _from(exc, dropped)


def _from(cause: Exception, failed: AttemptFailed) -> AttemptFailed:
    failed.__cause__ = cause
    return failed


def _why(exc: Exception) -> str:
    """Return why there is no connection: what is wrong with a certificate, or what the system says."""
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        certificate_error = exc.certificate_error
        message = getattr(certificate_error, "verify_message", "") or type(certificate_error).__name__
        return f"its certificate is not accepted: {message}"
    said = exc.os_error.strerror if isinstance(exc, aiohttp.ClientConnectorError) else None
    return f"{type(exc).__name__}: {said}" if said else type(exc).__name__


async def _without_authorization(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send a token request without what aiohttp finds for its host in netrc: the service asks for none."""
    request.headers.pop(aiohttp.hdrs.AUTHORIZATION, None)
    return await handler(request)


async def read_at_most(response: aiohttp.ClientResponse, limit: int) -> SecretBytes:
    """Read the body; of one that is larger than `limit` bytes only so much that nobody can take it for JSON."""
    parts: list[SecretBytes] = []
    while limit >= 0 and (part := SecretBytes(await response.content.read(limit + 1))):
        parts.append(part)
        limit -= len(part)
    return SecretBytes(b"" if limit < 0 else b"".join(parts))
