"""What is sent, whether it may be sent again, and whose authorization it carries.

A request to one of our origins carries `Authorization: Bearer …` (RFC 6750, section 2.1), unless its caller has set
one; a request to any other origin does not.
"""

import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, cast

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from nexudus_async._events import logger
from nexudus_async._ratelimit.gate import HeldBack
from nexudus_async._token import Token
from nexudus_async._validation import origin_key

from .tracebacks import hide_what_was_sent

if TYPE_CHECKING:
    from .aiohttp_internals import LooseHeaders

    WebSocket = aiohttp.ClientWebSocketResponse[bool]

AUTHORIZATION: Final = aiohttp.hdrs.AUTHORIZATION
Answer: TypeAlias = "aiohttp.ClientResponse | aiohttp.ClientResponseError | WebSocket"
"""A response; or what came of a handshake."""
RaiseForStatus = bool | Callable[[aiohttp.ClientResponse], Awaitable[None]] | None
SWITCHING_PROTOCOLS: Final = 101
MAX_TOLD: Final = 100
"""Hosts that there is a warning about, each once. More of them are no slip in the settings, and would fill the log."""

_ITERABLE_OPTIONS: Final = ("cookies", "skip_auto_headers", "protocols")
REPLAYED_AFTER_REDIRECT: Final = ("GET", "HEAD", "OPTIONS")
"""Of a redirected write nobody knows which hop has acted on it."""
R = TypeVar("R", bound="AbstractAsyncContextManager[Any]")


class Origins:
    """The origins that see the token."""

    def __init__(self, origins: Iterable[URL]) -> None:
        several = list(origins)
        self._keys = frozenset(map(origin_key, several))
        self._domains = {".".join(host.split(".")[-2:]) for each in several if (host := each.host or "")}
        self._told: set[str] = set()

    def cover(self, url: URL) -> bool:
        """Tell whether a request to `url` carries the token."""
        return origin_key(url) in self._keys

    def tell_of_neighbour(self, url: URL) -> None:
        """Say once of each host of the same domain that it gets no token: it may have been meant to."""
        host = url.host or ""
        beside = not host.replace(".", "").isdigit() and ".".join(host.split(".")[-2:]) in self._domains
        if "." in host and beside and host not in self._told and len(self._told) < MAX_TOLD:
            self._told.add(host)
            logger.warning("requests to %s carry no token: name it in allowed_origins if they should", host)


def destination(base_url: URL, origins: Origins, url: str | URL) -> tuple[URL, bool]:
    """Return where a request goes, and whether it carries the token there. User info in the URL is the caller's own."""
    try:
        target = base_url.join(URL(url))
    except ValueError as exc:
        raise aiohttp.InvalidUrlClientError(url) from exc
    ours = origins.cover(target)
    if not ours:
        origins.tell_of_neighbour(target)
    return target, ours and target.raw_user is None and target.raw_password is None


def has_authorization(headers: "LooseHeaders | None", kwargs: dict[str, Any]) -> bool:
    """Tell whether the request has authorization of its own: a header, or `auth=`."""
    return (headers is not None and AUTHORIZATION in CIMultiDict(headers)) or kwargs.get("auth") is not None


def can_be_sent_again(options: Mapping[str, Any]) -> bool:
    """Tell whether a request with these aiohttp keywords can be repeated.

    None, text, bytes of any kind, `json=`, and forms of plain values (a dict, or a list of pairs) can. A generator,
    stream, file or `FormData` may be used up by the first sending, and an upload tracker belongs to one.
    """
    if options.get("upload_tracker") is not None:
        return False
    data: object = options.get("data")
    match data:
        case None | str() | bytes() | bytearray() | memoryview():
            return True
        case Mapping():
            return all(map(_is_plain, cast("Mapping[object, object]", data).values()))
        case list() | tuple():
            return all(map(_is_plain_pair, cast("Sequence[object]", data)))
        case _:
            return False


def _is_plain(value: object) -> bool:
    return isinstance(value, str | bytes | int | float)


def _is_plain_pair(pair: object) -> bool:
    return isinstance(pair, tuple) and all(map(_is_plain, cast("tuple[object, ...]", pair)))


def read_once(values: Any) -> Any:
    """Return headers or cookies that can be read more than once: an iterator of pairs would be used up."""
    if values is None or isinstance(values, Mapping | str | list | tuple):
        return cast("object", values)
    return list(values)


def read_options_once(options: dict[str, Any]) -> None:
    """Replace the keywords of aiohttp that may be iterators: a replay is to send the same."""
    for name in _ITERABLE_OPTIONS:
        if name in options:
            options[name] = read_once(options[name])


def is_buffered(request: aiohttp.ClientRequest) -> bool:
    """Tell whether a request of a middleware can be sent again: its body is empty, or bytes."""
    return not request.body or isinstance(request.body, aiohttp.BytesPayload)


class _Call:
    """What is to be sent. headers: the caller's own, never changed. options: aiohttp's other keywords."""

    __slots__ = ("headers", "method", "options", "session", "target")

    def __init__(
        self,
        session: aiohttp.ClientSession,
        method: str,
        target: URL,
        headers: "LooseHeaders | None",
        options: dict[str, Any],
    ) -> None:
        self.session, self.method, self.target = session, method, target
        self.headers, self.options = headers, options


class Sending(_Call):
    """A request."""

    __slots__ = ()

    async def send(self, token: Token) -> aiohttp.ClientResponse:
        """Send it."""
        headers, handled = with_token(self.headers, token), sys.exception()
        try:
            return await self.session.request(
                self.method, self.target, headers=headers, raise_for_status=False, **self.options
            )
        except BaseException as exc:
            hide_what_was_sent(exc, handled)
            raise

    def replayable_after(self, answer: aiohttp.ClientResponse, /) -> bool:
        """Tell whether it can be sent again after this answer."""
        return can_be_sent_again(self.options) and (not answer.history or self.method in REPLAYED_AFTER_REDIRECT)

    def resume_at(self, held: HeldBack) -> None:
        """Go on where the connector stopped it: at its first hop, or at one that a redirect has led to.

        Nothing is sent twice so. Of a redirected request, `history` then begins here.
        """
        options = {name: value for name, value in self.options.items() if name != "params"}  # in the URL by now
        if not held.body:  # never had one, or a redirect has made a GET of it
            options = {name: value for name, value in options.items() if name not in ("data", "json")}
            self.headers = CIMultiDict(self.headers or {})
            self.headers.popall("Content-Length", None)  # of the body that is not sent
        elif not can_be_sent_again(options):
            options["data"] = held.body  # a file that a hop has read knows there how to be read again
        self.method, self.target, self.options = held.method, held.url, options


class Handshake(_Call):
    """A WebSocket handshake. Refused, it has an error for an answer."""

    __slots__ = ()

    async def send(self, token: Token) -> "WebSocket | aiohttp.ClientResponseError":
        """Connect with `token`, and return the socket or the refusal."""
        headers, handled = with_token(self.headers, token), sys.exception()
        try:
            return cast("WebSocket", await self.session.ws_connect(self.target, headers=headers, **self.options))
        except BaseException as exc:
            hide_what_was_sent(exc, handled)
            if isinstance(exc, aiohttp.ClientResponseError):
                return exc
            raise

    def replayable_after(self, _answer: "WebSocket | aiohttp.ClientResponseError", /) -> bool:
        """A refused handshake has done nothing, and has no body."""
        return True

    def resume_at(self, held: HeldBack) -> None:
        """Begin again: nothing has happened."""


def with_token(headers: "LooseHeaders | None", token: Token) -> "LooseHeaders":
    """Return the headers to send; the caller's own are never changed."""
    if headers is None:
        return {AUTHORIZATION: token.authorization}
    merged = CIMultiDict(headers)
    merged[AUTHORIZATION] = token.authorization
    return merged


def status_of(answer: Answer) -> int:
    """Return the status; that of a socket is the one it was opened with."""
    return SWITCHING_PROTOCOLS if isinstance(answer, aiohttp.ClientWebSocketResponse) else answer.status


def release(answer: Answer) -> None:
    """Give the connection of an answer that nobody reads back to the pool."""
    if isinstance(answer, aiohttp.ClientResponse):
        answer.release()


def discard(answer: Answer) -> None:
    """Close an answer that nobody will read, with its connection."""
    if isinstance(answer, aiohttp.ClientResponse):
        answer.close()


async def apply(raise_for_status: RaiseForStatus, response: aiohttp.ClientResponse) -> None:
    """Apply `raise_for_status`, as aiohttp would have, to the answer that the caller gets."""
    try:
        if callable(raise_for_status):
            await raise_for_status(response)
        else:
            response.raise_for_status()
    except BaseException:
        response.close()
        raise


def carried(token: Token, answer: Answer) -> bool:
    """Tell whether our header was on the request that was answered.

    aiohttp strips it where a redirect changes the origin; a middleware of the caller's may have put in its own or none.
    """
    if isinstance(answer, aiohttp.ClientWebSocketResponse):
        return True
    headers = answer.request_info.headers
    return headers.get(AUTHORIZATION) == token.authorization or not (headers or answer.history)  # a mock keeps none


class RequestContext(Coroutine[Any, Any, R], Generic[R]):
    """A request that has not been sent yet. It is a coroutine, so that `asyncio.create_task` takes it too."""

    __slots__ = ("_coroutine", "_response")

    def __init__(self, coroutine: Coroutine[Any, Any, R]) -> None:
        self._coroutine = coroutine
        self._response: R

    def __await__(self) -> Generator[Any, Any, R]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *args: Any) -> Any:
        return self._coroutine.throw(*args)

    def close(self) -> None:
        self._coroutine.close()

    async def __aenter__(self) -> R:
        self._response = await self._coroutine
        await self._response.__aenter__()
        return self._response

    def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> Coroutine[Any, Any, bool | None]:
        return self._response.__aexit__(exc_type, exc, traceback)  # not one coroutine more on every request
