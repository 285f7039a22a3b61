"""What redis-py is to a store: the client made from a URL, and words for what it raises.

The client is bounded, hides its password, and is bound to no event loop when made.
"""

import asyncio
import os
import re
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nexudus_async._token import Secret
from nexudus_async.errors import ConfigurationError, chain_of

if TYPE_CHECKING:
    from redis.asyncio import BlockingConnectionPool, Redis

OPERATION_LIMIT = 3.0
"""Seconds for one command with all it needs: connecting, TLS, signing in, one try again."""
SOCKET_TIMEOUT = 2.0
"""Seconds for connecting, and for an answer: a server on another continent answers in a tenth of it."""
RETRIES = 1
"""A connection that the server closed while it was idle shows at its next use; the second attempt is on a new one."""
CONNECTIONS = 8
"""Commands at once; more wait in the process. A fleet multiplies this by its pods, and servers limit their clients."""
CODE = "[A-Z]{2,20}"
"""The first word of an error that a server answers, such as OOM."""
MEANINGS = {
    "AuthenticationError": "NOAUTH or WRONGPASS",
    "BusyLoadingError": "LOADING",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "NoPermissionError": "NOPERM",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TimeoutError": "no answer in time",
}
"""What an error of a class means where nothing in it tells: redis-py's, without the server's code, or ours."""
ERRNO = r"\[Errno (\d+)\]"


class OwnClient:
    """Makes one client for the event loop that asks. Raises `ConfigurationError` for a URL that cannot work."""

    def __init__(self, url: str) -> None:
        self._url = Secret(url)
        self._where = _trial(self._url)
        if not self._where:  # raised here, not there: those errors and variables hold the URL
            raise ConfigurationError(
                "not a Redis URL that can work: write redis://, rediss:// or unix://, options that redis-py knows, "
                "and any / ? # @ : of the password percent-encoded"
            )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Redis | None = None

    def get(self) -> "Redis":
        """Return the running loop's client. Raises `ConfigurationError` while another loop uses this store."""
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra

        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            if self._client is not None and self._loop is not None and not self._loop.is_closed():
                raise ConfigurationError("a RedisStore is used by one event loop at a time: make one for each")
            self._loop, self._client = loop, Redis.from_pool(_new_pool(self._url))
        return self._client

    async def disconnect(self) -> None:
        """Close the connections that are idle, if they are this loop's."""
        if self._client is not None and self._loop is asyncio.get_running_loop():
            with suppress(Exception):  # whatever a connection that broke raises: it is closed
                async with asyncio.timeout(OPERATION_LIMIT):
                    await self._client.connection_pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        """Close the client, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def __repr__(self) -> str:
        return self._where


def _new_pool(url: str) -> "BlockingConnectionPool":
    from redis.asyncio import BlockingConnectionPool  # noqa: PLC0415 - an extra
    from redis.asyncio.retry import Retry  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.exceptions import ConnectionError as Disconnected  # noqa: PLC0415
    from redis.exceptions import TimeoutError as Unanswered  # noqa: PLC0415

    pool = BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType] - its keywords have no types
        url,
        protocol=2,  # the older form has all that is used, and needs no negotiation
        max_connections=CONNECTIONS,
        timeout=OPERATION_LIMIT,
        socket_timeout=SOCKET_TIMEOUT,
        socket_connect_timeout=SOCKET_TIMEOUT,
        retry=Retry(NoBackoff(), RETRIES),
        retry_on_error=[Disconnected, Unanswered],  # some releases try none again that is not named
    )
    for name in ("host", "path"):  # pieces of the secret URL, and secret, too: uvloop takes no such text for a host
        if name in pool.connection_kwargs:
            pool.connection_kwargs[name] = str(pool.connection_kwargs[name])
    return pool


def _trial(url: str) -> str:
    """Return where `url` leads, without its secrets, or "" when a part of it cannot work."""
    from redis.exceptions import RedisError  # noqa: PLC0415 - an extra

    try:
        parts = urlsplit(url)
        pool = _new_pool(url)
        pool.connection_class(**pool.connection_kwargs)  # connects to nothing; an unknown option would show only later
        port = parts.port or 6379
    except (ValueError, TypeError, RedisError):
        return ""
    if "@" in parts.path + parts.query + parts.fragment:
        return ""  # the rest of a password with a / ? or # in it
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.hostname else f"{parts.scheme}://{parts.path}"


def words_of(error: BaseException) -> str:
    """Return the class of `error` and why it was raised, in words that are no secret.

    The server's own words may repeat a command, hence a record, or a password: of them only the first is shown, which
    is a code.
    """
    reason = next((words for link in chain_of(error) if (words := _reason(link))), "")
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__


def _reason(error: BaseException) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"certificate verify failed: {getattr(error, 'verify_message', 'no reason given')}"
        case ssl.SSLError():
            return str(getattr(error, "reason", ""))  # OpenSSL's own; there is none if somebody else made the error
        case socket.gaierror():
            words = error.strerror or ""
        case OSError():  # asyncio makes one of those of several addresses, with their numbers in its text only
            number = error.errno or next(map(int, re.findall(ERRNO, str(error))), 0)
            words = os.strerror(number) if number else ""
        case _:
            code: object = getattr(error, "status_code", None)  # of redis-py 7 on
            first = code if isinstance(code, str) else str(error).partition(" ")[0]
            words = first if re.fullmatch(CODE, first) else ""
    return words or MEANINGS.get(type(error).__name__, "")
