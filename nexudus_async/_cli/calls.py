"""What the commands do after `login`: sessions that live on the stored tokens, without a password."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from yarl import URL

from nexudus_async._refresh.policy import Freshness, RefreshPolicy, schedule
from nexudus_async._token import Token
from nexudus_async.errors import ConfigurationError, LoginRequiredError, StoreError

from .output import working
from .state import Account, State, record_of

__all__ = ["Answer", "Status", "current_token", "fetch", "log_out", "look_up"]

REFRESH_TOKEN_LIFE = 15 * 86_400.0
"""Seconds that a refresh token can be used, as Nexudus documents it."""


@dataclass(frozen=True, slots=True)
class Status:
    """What is known here of the tokens, without a secret. Times are ISO 8601, `expires_in` is in seconds."""

    signed_in: bool
    account: str | None = None
    base_url: str | None = None
    state: str = Freshness.EMPTY.value
    expires_in: float | None = None
    expires_at: str | None = None
    renewable_until: str | None = None
    client_id: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the API: its status, the lines before its body, and the body, all as they came."""

    ok: bool
    status: str
    head: bytes
    body: bytes


async def current_token(state: State, base_url: str | None) -> Token:
    """Return a token that has not expired."""
    async with state.account(base_url).session(state.store) as session:
        with working("renewing the token"):
            return await session.token()


async def fetch(state: State, path: str, base_url: str | None) -> Answer:
    """Send a GET request with the token. Raises `ConfigurationError` for a path that leads to another origin."""
    account = state.account(base_url)
    async with account.session(state.store) as session:
        _check_path(account, path)
        with working(f"GET {path}") as tell:
            async with session.get(path, headers={"Accept": "application/json"}) as response:
                body = bytearray()
                async for part in response.content.iter_any():
                    body += part
                    tell(f"{len(body):,} bytes")
        status = f"{response.status} {response.reason or ''}".rstrip()
        headers = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
        head = f"HTTP/1.1 {status}\r\n".encode() + headers + b"\r\n"
        return Answer(response.status // 100 == 2, status, head, bytes(body))


async def log_out(state: State, base_url: str | None) -> Account | None:
    """Leave a mark that ends the tokens for all who share them; return who was signed in, None for nobody."""
    try:
        account = state.account(base_url)
    except LoginRequiredError:
        return None
    store = state.store
    before = await record_of(account, store)
    async with account.session(store) as session:
        await session.logout()
    if session.statistics().unsaved:
        raise StoreError(f"the tokens could not be removed from {store!r}")
    state.forget(account)
    return account if before is not None and before.token is not None else None


async def look_up(state: State, base_url: str | None) -> Status:
    """Return what the stored record says. Nothing is renewed and nobody asked."""
    try:
        account = state.account(base_url)
    except LoginRequiredError:
        return Status(signed_in=False)
    record = await record_of(account, state.store)
    known = record.token if record is not None else None
    if known is None:
        return Status(signed_in=False, account=account.username, base_url=account.base_url)
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
    )


def _check_path(account: Account, path: str) -> None:
    base = URL(account.base_url)
    try:
        same = base.join(URL(path)).origin() == base.origin()
    except ValueError:
        same = False
    if not same:
        raise ConfigurationError(f"write the path alone, such as /api/public/teams/my: the token is for {base} only")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
