"""Where a request goes, and whether its authorization is ours to add or the caller's own."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.helpers import basicauth_from_netrc, netrc_from_env
from multidict import CIMultiDict
from yarl import URL

from .middleware import AUTHORIZATION

if TYPE_CHECKING:
    from aiohttp.typedefs import LooseHeaders

__all__ = ["destination", "has_authorization", "is_in_netrc"]


def destination(base_url: URL, covers: Callable[[URL], bool], url: str | URL) -> tuple[URL, bool]:
    """Return where a request goes, and whether it carries the token there. User info in the URL is the caller's own."""
    try:
        target = base_url.join(URL(url))
    except ValueError as exc:
        raise aiohttp.InvalidUrlClientError(url) from exc
    return target, covers(target) and target.raw_user is None and target.raw_password is None


def has_authorization(headers: "LooseHeaders | None", kwargs: dict[str, Any]) -> bool:
    """Tell whether the request has authorization of its own: a header, or `auth=`."""
    return (headers is not None and AUTHORIZATION in CIMultiDict(headers)) or kwargs.get("auth") is not None


async def is_in_netrc(target: URL) -> bool:
    """Tell whether aiohttp will find authorization in netrc: it refuses a request that then has two."""
    return await asyncio.to_thread(_find_in_netrc, target.host)


def _find_in_netrc(host: str | None) -> bool:
    try:
        basicauth_from_netrc(netrc_from_env(), host or "")
    except LookupError:
        return False
    return True
