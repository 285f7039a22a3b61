# pyright: reportPrivateUsage=false
"""The few looks inside that tests need, in one place, so that a move breaks one file."""

import aiohttp

from nexudus_async import Token, TokenManager, TokenSession, TokenStore
from nexudus_async._fleet.renewal import FleetRefresher
from nexudus_async._fleet.storage import Storage
from nexudus_async._keep_alive import KeepAlive
from nexudus_async._manager import coordinator_of
from nexudus_async._ratelimit.adaptive_rate import UNPACED
from nexudus_async._ratelimit.gate import Gate
from nexudus_async._ratelimit.pacing import Pacer


def key_of(session: TokenSession) -> str:
    """Return what the session's store files its tokens under."""
    return coordinator_of(session.manager).key


def key_of_manager(manager: TokenManager) -> str:
    return coordinator_of(manager).key


async def save_now(manager: TokenManager) -> None:
    """Try to save what is still to be saved, as the task that does so later."""
    await coordinator_of(manager)._refresher.save_unsaved()


def storage_of(manager: TokenManager) -> Storage:
    """Return what a manager knows of the record of its account."""
    refresher = coordinator_of(manager)._refresher
    assert isinstance(refresher, FleetRefresher)
    return refresher._storage


def put_store(manager: TokenManager, store: TokenStore) -> TokenStore:
    """Let a manager have another store, as where it alone cannot reach its own; return the one it had."""
    refresher = coordinator_of(manager)._refresher
    assert isinstance(refresher, FleetRefresher)
    before, refresher._storage._access._store = refresher._storage._access._store, store
    return before


def take_jitter_from(session: TokenSession) -> None:
    coordinator_of(session.manager).state._chance = lambda: 0.0


def refuse(manager: TokenManager, token: Token) -> None:
    """Report a 401 as the sender does, which waits for nothing yet."""
    coordinator_of(manager).after_rejection(token)


def goes_with_the_token(session: TokenSession, url: str) -> bool:
    """Tell where a request would carry the token, without sending it."""
    return session._destination(url)[1]


def session_of(session: TokenSession) -> aiohttp.ClientSession:
    """Return the aiohttp session for requests."""
    return session._connections.for_requests()


def token_session_of(session: TokenSession) -> aiohttp.ClientSession:
    """Return the aiohttp session for token requests, which is made at the first."""
    made = session._connections._pool._tokens
    assert made is not None
    return made


def gate_of(session: TokenSession) -> Gate:
    return session._sender.gate


def pause(session: TokenSession, seconds: float) -> None:
    """Let the session hear of a throttled answer, to a request that was sent before."""
    gate_of(session).throttled(UNPACED, seconds, write=False)


def put_rate(session: TokenSession, rate: float) -> None:
    """Let the session have learnt this rate."""
    pause(session, 0)
    gate_of(session)._rates.all.limit = rate


def pacer_of(session: TokenSession) -> Pacer:
    pacer = session._sender.pacer
    assert pacer is not None
    return pacer


def kept_alive(manager: TokenManager) -> KeepAlive:
    """Start the task of `keep_alive=True` for a manager without a session; it is to be stopped."""
    keeper = KeepAlive(coordinator_of(manager))
    keeper.start()
    return keeper
