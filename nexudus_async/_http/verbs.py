"""The verbs of a session, with aiohttp's own keywords."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from .request import RequestContext

if TYPE_CHECKING:
    from typing import Unpack

    from .aiohttp_internals import RequestOptions, WSConnectOptions

    Response = aiohttp.ClientResponse
    WebSocket = aiohttp.ClientWebSocketResponse[bool]


class Verbs:
    """The methods that callers send by. A subclass has `_request` and `_ws_connect`, which do it."""

    def request(self, method: str, url: str | URL, **kwargs: "Unpack[RequestOptions]") -> "RequestContext[Response]":
        """Send a request, with aiohttp's own keywords; `await` the result or enter it with `async with`.

        A 401 leads to one refresh and one replay, if the body can be sent again: None, text, bytes, a form of plain
        values, or `json=`. `timeout=` covers each sending; bound everything with `asyncio.timeout`. Raises what aiohttp
        raises, and what `token()` raises: then nothing was sent. Cancelling is safe at any time.
        """
        return RequestContext(self._request(method.upper(), url, **kwargs))

    def get(self, url: str | URL, **kwargs: "Unpack[RequestOptions]") -> "RequestContext[Response]":
        """Send a GET request; see `request`."""
        return RequestContext(self._request("GET", url, **kwargs))

    def post(self, url: str | URL, **kwargs: "Unpack[RequestOptions]") -> "RequestContext[Response]":
        """Send a POST request; see `request`."""
        return RequestContext(self._request("POST", url, **kwargs))

    def put(self, url: str | URL, **kwargs: "Unpack[RequestOptions]") -> "RequestContext[Response]":
        """Send a PUT request; see `request`."""
        return RequestContext(self._request("PUT", url, **kwargs))

    def patch(self, url: str | URL, **kwargs: "Unpack[RequestOptions]") -> "RequestContext[Response]":
        """Send a PATCH request; see `request`."""
        return RequestContext(self._request("PATCH", url, **kwargs))

    def delete(self, url: str | URL, **kwargs: "Unpack[RequestOptions]") -> "RequestContext[Response]":
        """Send a DELETE request; see `request`."""
        return RequestContext(self._request("DELETE", url, **kwargs))

    def options(self, url: str | URL, **kwargs: "Unpack[RequestOptions]") -> "RequestContext[Response]":
        """Send an OPTIONS request; see `request`."""
        return RequestContext(self._request("OPTIONS", url, **kwargs))

    def head(self, url: str | URL, **kwargs: "Unpack[RequestOptions]") -> "RequestContext[Response]":
        """Send a HEAD request; as in aiohttp, it follows redirects only when told to. See `request`."""
        kwargs.setdefault("allow_redirects", False)
        return RequestContext(self._request("HEAD", url, **kwargs))

    def ws_connect(self, url: str | URL, **kwargs: "Unpack[WSConnectOptions]") -> "RequestContext[WebSocket]":
        """Open a WebSocket, with aiohttp's own keywords; a handshake refused with 401 is replayed. See `request`."""
        return RequestContext(self._ws_connect(url, **kwargs))

    def _request(self, method: str, url: str | URL, **kwargs: Any) -> "Coroutine[Any, Any, Response]":
        raise NotImplementedError

    def _ws_connect(self, url: str | URL, **kwargs: Any) -> "Coroutine[Any, Any, WebSocket]":
        raise NotImplementedError
