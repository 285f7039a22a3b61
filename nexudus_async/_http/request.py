"""What is sent: a request or a WebSocket handshake, ready to be sent, and sent again, with any token."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from nexudus_async._ratelimit.gate import HeldBack
from nexudus_async._token import Token

from .middleware import AUTHORIZATION
from .replay import can_be_sent_again

if TYPE_CHECKING:
    from .aiohttp_internals import LooseHeaders

    WebSocket = aiohttp.ClientWebSocketResponse[bool]

__all__ = ["Answer", "Handshake", "RaiseForStatus", "Sending", "apply", "carried", "release", "status_of", "with_token"]

Answer: TypeAlias = "aiohttp.ClientResponse | aiohttp.ClientResponseError | WebSocket"
"""A response; or what came of a handshake."""
RaiseForStatus = bool | Callable[[aiohttp.ClientResponse], Awaitable[None]] | None
SWITCHING_PROTOCOLS: Final = 101

_REPLAYED_AFTER_REDIRECT: Final = ("GET", "HEAD", "OPTIONS")
"""Of a redirected write nobody knows which hop has acted on it."""


@dataclass(slots=True)
class Sending:
    """A request. headers: the caller's own, never changed. options: aiohttp's other keywords."""

    session: aiohttp.ClientSession
    method: str
    target: URL
    headers: "LooseHeaders | None"
    options: dict[str, Any]

    async def send(self, token: Token) -> aiohttp.ClientResponse:
        """Send it."""
        headers = with_token(self.headers, token)
        return await self.session.request(
            self.method, self.target, headers=headers, raise_for_status=False, **self.options
        )

    def replayable_after(self, answer: aiohttp.ClientResponse, /) -> bool:
        """Tell whether it can be sent again after this answer."""
        return can_be_sent_again(self.options) and (not answer.history or self.method in _REPLAYED_AFTER_REDIRECT)

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


@dataclass(slots=True)
class Handshake:
    """A WebSocket handshake. Refused, it has an error for an answer."""

    session: aiohttp.ClientSession
    method: str
    target: URL
    headers: "LooseHeaders | None"
    options: dict[str, Any]

    async def send(self, token: Token) -> "WebSocket | aiohttp.ClientResponseError":
        """Connect with `token`, and return the socket or the refusal."""
        try:
            headers = with_token(self.headers, token)
            return cast("WebSocket", await self.session.ws_connect(self.target, headers=headers, **self.options))
        except aiohttp.ClientResponseError as exc:
            return exc

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
    """Tell whether our header was on the hop that answered: aiohttp strips it where a redirect changes the origin."""
    if isinstance(answer, aiohttp.ClientWebSocketResponse):
        return True
    return not answer.history or answer.request_info.headers.get(AUTHORIZATION) == token.authorization
