"""Whether netrc has authorization for a host."""

import asyncio

from aiohttp.helpers import basicauth_from_netrc, netrc_from_env
from yarl import URL


async def is_in_netrc(target: URL) -> bool:
    """Tell whether aiohttp will find authorization in netrc: it refuses a request that then has two."""
    return await asyncio.to_thread(_find_in_netrc, target.host)


def _find_in_netrc(host: str | None) -> bool:
    try:
        basicauth_from_netrc(netrc_from_env(), host or "")
    except LookupError:
        return False
    return True
