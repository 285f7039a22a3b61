# pyright: reportPrivateUsage=false
"""The few looks inside that tests need, in one place, so that a move breaks one file."""

from nexudus_async import Token, TokenManager, TokenSession
from nexudus_async._manager import coordinator_of
from nexudus_async._ratelimit.gate import Gate
from nexudus_async._ratelimit.pacing import Pacer


def key_of(session: TokenSession) -> str:
    """Return what the session's store files its tokens under."""
    return coordinator_of(session.manager).key


def refuse(manager: TokenManager, token: Token) -> None:
    """Report a 401 as the sender does, which waits for nothing yet."""
    coordinator_of(manager).after_rejection(token)


def gate_of(session: TokenSession) -> Gate:
    return session._sender.gate


def pacer_of(session: TokenSession) -> Pacer:
    pacer = session._sender.pacer
    assert pacer is not None
    return pacer
