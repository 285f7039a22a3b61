"""Where a request goes, and whether its authorization is ours to add or the caller's own."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from .middleware import AUTHORIZATION

if TYPE_CHECKING:
    from .aiohttp_internals import LooseHeaders

__all__ = ["destination", "has_authorization"]


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
