"""netrc: a file of passwords by host, which aiohttp reads for a session that trusts the environment.

What it says of a host is authorization of the caller's own; its `default` entry names nobody.
"""

import asyncio
import base64
import netrc
import os
import platform
from pathlib import Path
from typing import cast

import aiohttp
from aiohttp.hdrs import AUTHORIZATION

Entries = dict[str, "tuple[str, str | None, str | None]"]
"""Login, account and password, by host."""


async def netrc_entries() -> Entries:
    """Return the entries of the file that aiohttp reads; none for one that it cannot read."""
    return await asyncio.to_thread(_read_netrc)


async def is_netrc_default(request: aiohttp.ClientRequest) -> bool:
    """Tell whether the request's `Authorization` is the `default` entry of netrc, which is nobody's own."""
    if not request.session.trust_env:
        return False
    entries = await netrc_entries()
    if request.url.host in entries or "default" not in entries:
        return False
    login, account, password = entries["default"]
    pair = f"{login or account or ''}:{password or ''}"
    encoded = [base64.b64encode(pair.encode(encoding, "replace")) for encoding in ("latin-1", "utf-8")]
    return request.headers.get(AUTHORIZATION) in [f"Basic {each.decode()}" for each in encoded]


def _read_netrc() -> Entries:
    path = os.environ.get("NETRC")
    try:
        if path is None:
            path = str(Path.home() / ("_netrc" if platform.system() == "Windows" else ".netrc"))
        return cast(Entries, netrc.netrc(path).hosts)
    except (OSError, RuntimeError, UnicodeError, netrc.NetrcParseError):
        return {}
