"""A lock must outlive what it guards: the refresh, and the save after it."""

from collections.abc import Callable

import pytest
from cryptography.fernet import Fernet

from nexudus_async import (
    ConfigurationError,
    EncryptedStore,
    MemoryStore,
    PasswordCredentials,
    RedisStore,
    RefreshPolicy,
    Token,
    TokenManager,
    TokenSession,
    TokenSessions,
    TokenStore,
)


class Source:
    """Is never asked."""

    key = "an account"

    async def login(self) -> Token:
        raise AssertionError

    async def refresh(self, token: Token) -> Token:
        raise AssertionError


ME = PasswordCredentials("ops@example.com", "secret")
MAKERS: list[Callable[[TokenStore, RefreshPolicy], object]] = [
    lambda store, policy: TokenManager(Source(), store=store, policy=policy),
    lambda store, policy: TokenSession(ME, store=store, policy=policy),
    lambda store, policy: TokenSessions(lambda _account: ME, store=store, policy=policy),
]


@pytest.mark.parametrize("make", MAKERS, ids=["manager", "session", "sessions"])
@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize(
    ("lease", "deadline", "fits"), [(35, 30, True), (34.9, 30, False), (7, 2, True), (6.9, 2, False), (60, 56, False)]
)
def test_a_lease_that_is_too_short_is_refused(
    make: Callable[[TokenStore, RefreshPolicy], object], encrypted: bool, lease: float, deadline: float, fits: bool
) -> None:
    """Before the first use, where both are known: else two processes could refresh at once. It says what to do."""
    store: TokenStore = RedisStore("redis://example.org", lease=lease)
    if encrypted:
        store = EncryptedStore(store, Fernet.generate_key())
    policy = RefreshPolicy(flight_deadline=deadline)
    if fits:
        make(store, policy)
        return
    with pytest.raises(ConfigurationError, match=f"lease is {lease:g} s.*longer lease.*shorter flight_deadline"):
        make(store, policy)


@pytest.mark.parametrize("make", MAKERS, ids=["manager", "session", "sessions"])
def test_a_lock_that_does_not_end_by_itself_suits_every_policy(
    make: Callable[[TokenStore, RefreshPolicy], object],
) -> None:
    """Such a store has no lease."""
    make(MemoryStore(), RefreshPolicy(flight_deadline=3000))
