"""A response class that lets `aioresponses` work with the aiohttp that is installed.

aiohttp 3.14 made `stream_writer` a required argument of `ClientResponse`; aioresponses up to 0.7.9 does not pass it
(pnuckowski/aioresponses#289). Older aiohttp refuses the argument, so the signature decides.
"""

import inspect
from typing import Any

import aiohttp

_WANTS_STREAM_WRITER = "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters


class _NothingSent:
    """Stands for the writer of a request that was never written to a socket."""

    output_size = 0


class AioresponsesResponse(aiohttp.ClientResponse):
    """The class to give each mocked answer: `mocked.get(url, response_class=AioresponsesResponse)`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if _WANTS_STREAM_WRITER:
            kwargs.setdefault("stream_writer", _NothingSent())
        super().__init__(*args, **kwargs)
