"""What a session sends by, and many may share: the origins, the connections, and what is known of URLs."""

import functools
from collections.abc import Callable, Iterable

import aiohttp
from yarl import URL

from nexudus_async._ratelimit.limits import Limits

from .aiohttp_internals import check_borrowed
from .arguments import origins_named
from .connections import Pool
from .request import Origins, destination

KNOWN_URLS = 1024
"""Remembered with what follows from them: resolving is the dearest thing that a session adds to a request."""


class Shared:
    """Of one `TokenSession`, or of all that a `TokenSessions` makes. Raises `ConfigurationError`.

    gate, pace: what those share who are to stay below one limit; None: each session has its own.
    """

    def __init__(
        self,
        base_url: str | URL | None,
        allowed_origins: Iterable[str | URL],
        client_session: aiohttp.ClientSession | None,
        *,
        allow_insecure_http: bool,
    ) -> None:
        origins = origins_named(base_url, allowed_origins, allow_insecure_http=allow_insecure_http)
        self.base_url = origins[0]
        if client_session is not None:
            check_borrowed(client_session, self.base_url)
        self.origins = Origins(origins)
        self.pool = Pool(client_session)
        self.limits: Limits | None = None
        self.destination: Callable[[str | URL], tuple[URL, bool]] = functools.lru_cache(KNOWN_URLS)(
            functools.partial(destination, self.base_url, self.origins)
        )
