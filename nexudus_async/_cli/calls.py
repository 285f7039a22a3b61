"""What the commands do: they take the caller, open a session, and return plain data."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from yarl import URL

from nexudus_async._refresh.policy import Freshness, RefreshPolicy, schedule
from nexudus_async._session import TokenSession
from nexudus_async._token import Token
from nexudus_async.errors import ConfigurationError, StoreError
from nexudus_async.stores import TokenStore
from nexudus_async.stores._record import Record, decode

from .log import heard
from .output import working
from .state import Account
from .who import Caller

__all__ = ["Answer", "Status", "current_token", "log_out", "look_up", "send", "status_of", "target_of"]

REFRESH_TOKEN_LIFE = 15 * 86_400.0
"""Seconds that a refresh token can be used, as Nexudus documents it."""

Tell = Callable[[str], None]
logger = logging.getLogger("nexudus_async")


@dataclass(frozen=True, slots=True)
class Status:
    """What is known here of an account, without a secret. Times are ISO 8601, `expires_in` is in seconds.

    signed_in: whether the other commands work without a `login`.
    store: where the tokens are kept: "file", "keyring", or "none" for credentials in the environment.
    """

    signed_in: bool
    account: str | None = None
    base_url: str | None = None
    state: str = Freshness.EMPTY.value
    expires_in: float | None = None
    expires_at: str | None = None
    renewable_until: str | None = None
    client_id: str | None = None
    store: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the API: its status, the lines before its body, and the body, all as they came."""

    ok: bool
    status: str
    content_type: str
    head: bytes
    body: bytes


async def current_token(caller: Caller, store: TokenStore | None) -> Token:
    """Return a token that has not expired."""
    async with caller.session(store, heard) as session:
        with working("getting a token"):
            return await session.token()


async def send(
    session: TokenSession, method: str, target: URL, body: bytes | None = None, tell: Tell = lambda _: None
) -> Answer:
    """Send a request with the token, and return the answer whatever its status."""
    headers = {"Accept": "application/json"} | ({} if body is None else {"Content-Type": "application/json"})
    started = time.perf_counter()
    async with session.request(method, target, headers=headers, data=body) as response:
        content = bytearray()
        async for part in response.content.iter_any():
            content += part
            tell(f"{len(content):,} bytes")
    took = 1000 * (time.perf_counter() - started)
    # The query stays out of what is shown: a one-time token may stand in it.
    logger.debug("%s %s: %d, %d bytes in %.0f ms", method, target.path, response.status, len(content), took)
    status = f"{response.status} {response.reason or ''}".rstrip()
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
    head = f"HTTP/1.1 {status}\r\n".encode() + lines + b"\r\n"
    return Answer(response.status // 100 == 2, status, response.content_type, head, bytes(content))


def target_of(base_url: str, path: str) -> URL:
    """Return the URL of a path. Raises `ConfigurationError` for one that leads to another origin."""
    base = URL(base_url)
    try:
        target = base.join(URL(path))
        if target.origin() == base.origin():
            return target
    except ValueError:
        pass
    raise ConfigurationError(f"write the path alone, such as /api/public/teams/my: the token is for {base} only")


async def log_out(account: Account, store: TokenStore) -> bool:
    """Leave a mark that ends the tokens for all who share them; tell whether there were any."""
    caller = Caller(account.username, account.base_url, account)
    before = await _record_of(account, store)
    async with caller.session(store, heard) as session:
        await session.logout()
    if session.statistics().unsaved:
        raise StoreError(f"the tokens could not be removed from {store!r}")
    return before is not None and before.token is not None


async def look_up(account: Account, store: TokenStore) -> Status:
    """Return what the stored record says. Nothing is refreshed and nobody asked. Raises `StoreError`."""
    return status_of(account, await _record_of(account, store))


def status_of(account: Account, record: Record | None) -> Status:
    """Return what a record says, None for one that is not there."""
    known = record.token if record is not None else None
    if known is None:
        return Status(False, account.username, account.base_url, store=account.kept_in)
    now, ends = time.time(), known.expires_at.timestamp()
    issued = ends - known.lifetime
    renewable_until = issued + REFRESH_TOKEN_LIFE if known.refresh_token is not None else None
    return Status(
        signed_in=now < max(ends, renewable_until or 0),
        account=account.username,
        base_url=account.base_url,
        state=schedule(RefreshPolicy(), known.lifetime, 0).freshness(now - issued).value,
        expires_in=max(0.0, round(ends - now, 3)),
        expires_at=_iso(ends),
        renewable_until=None if renewable_until is None else _iso(renewable_until),
        client_id=known.client_id,
        store=account.kept_in,
    )


async def _record_of(account: Account, store: TokenStore) -> Record | None:
    stored = await store.load(account.key)
    try:
        return None if stored is None else decode(stored, account.key)
    except ValueError as exc:
        raise StoreError(str(exc)) from None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
