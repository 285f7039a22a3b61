"""What a session sends by, and many may share: the origins, the connections, and what is known of URLs."""

import functools
from collections.abc import Callable, Iterable
from typing import Literal

import aiohttp
from yarl import URL

from nexudus_async._ratelimit.limits import Limits

from .aiohttp_internals import check_borrowed
from .arguments import origins_named
from .connections import Pool
from .request import Origins, destination

KNOWN_URLS = 1024
"""URLs whose destination is remembered: to work it out is the dearest thing that a session adds to a request."""


class Shared:
    """What one `TokenSession` sends by, or what all those share that a `TokenSessions` makes.

    accounts: how many send by it. The other arguments are those of `TokenSession`. Raises `ConfigurationError`.
    """

    def __init__(
        self,
        base_url: str | URL | None,
        allowed_origins: Iterable[str | URL],
        client_session: aiohttp.ClientSession | None,
        *,
        allow_insecure_http: bool,
        accounts: Literal["one", "many"] = "one",
    ) -> None:
        origins = origins_named(base_url, allowed_origins, allow_insecure_http=allow_insecure_http)
        self.base_url = origins[0]
        if client_session is not None:
            check_borrowed(client_session, self.base_url)
        self.origins = Origins(origins)
        self.pool = Pool(client_session, accounts=accounts)
        self.limits: Limits | None = None
        """The throttle and pace that all sessions go by; None: each has its own."""
        self.destination: Callable[[str | URL], tuple[URL, bool]] = functools.lru_cache(KNOWN_URLS)(
            functools.partial(destination, self.base_url, self.origins)
        )
