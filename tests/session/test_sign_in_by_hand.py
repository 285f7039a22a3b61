"""`sign_in()` with what was handed over: the service is asked first, and a failure replaces nothing.

A session lives on the chain of one hand-over, and another is tried by hand.
"""

import asyncio
from typing import Any

import pytest

from nexudus_async import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    ExchangeCredentials,
    Freshness,
    LoginRequiredError,
    MemoryStore,
    NexudusAuthError,
    PasswordCredentials,
    RefreshTokenCredentials,
    StoredToken,
    StoreError,
    TokenEndpointError,
    TokenSession,
)
from nexudus_async.stores._record import decode, encode
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect
from tests.inside import key_of

SHARED = pytest.mark.parametrize("shared", [False, True], ids=["alone", "with a store"])
LOST = Fault.dropped(applied=False)


@pytest.fixture(autouse=True)
def autojump(clock: ManualClock) -> None:
    clock.autojump = True


class Hands:
    """What is handed over, which may be replaced: as by somebody who writes a file. lives: of the access token."""

    def __init__(self, emulator: NexudusEmulator, lives: float = 600) -> None:
        self._emulator, self._lives, self._number = emulator, lives, 0
        self.over()

    def over(self) -> str:
        """Hand over what another sign-in has given; return its refresh token."""
        self._number += 1
        self.client_id = f"worker-{self._number}"
        pair = self._emulator.issue(client_id=self.client_id, lifetime=3600)
        self.refresh_token, self.access_token = pair.refresh_token, pair.access_token
        return self.refresh_token

    def credentials(self, **options: Any) -> RefreshTokenCredentials:
        return RefreshTokenCredentials(
            lambda: self.refresh_token, client_id=lambda: self.client_id, username=self._emulator.username, **options
        )

    def with_access_token(self) -> RefreshTokenCredentials:
        return self.credentials(access_token=lambda: self.access_token, expires_in=self._lives)


@pytest.fixture
def hands(emulator: NexudusEmulator) -> Hands:
    return Hands(emulator)


def sent(emulator: NexudusEmulator) -> list[str]:
    """Return the refresh tokens that were sent."""
    return [record.form["refresh_token"] for record in emulator.token_requests]


async def on_a_chain(hands: Hands, connect: Connect, store: MemoryStore | None) -> TokenSession:
    """Return a session whose hand-over was used, and whose chain lives; another has been handed over since."""
    session = await connect(hands.credentials(), store=store)
    await session.token()
    hands.over()
    return session


@SHARED
async def test_a_good_one_begins_a_new_chain(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, hands: Hands, shared: bool
) -> None:
    """One request, with the refresh token handed over; the next refresh has its successor."""
    store = MemoryStore() if shared else None
    session = await on_a_chain(hands, connect, store)
    before = await session.token()
    token = await session.sign_in()
    assert (token.generation, token.client_id) == (before.generation + 1, "worker-2")
    assert await session.token() is token
    assert sent(emulator)[1:] == [hands.refresh_token]
    clock.advance(3600)
    await session.token()
    assert sent(emulator)[2:] == [token.refresh_token]
    assert (session.statistics().renewals, session.statistics().failures) == (3, 0)


@SHARED
@pytest.mark.parametrize(
    ("fault", "again"),
    [
        (None, False),
        (LOST, False),
        (Fault.dropped(applied=True), False),
        (Fault.answer(502), False),
        (Fault.answer(403), False),
        (Fault.answer(503), True),
        (Fault.throttled(1, 429), True),
    ],
    ids=["refused", "lost", "lost, and applied", "a gateway's", "a firewall's", "503", "throttled"],
)
async def test_a_failure_leaves_the_token_held_as_it_was(
    emulator: NexudusEmulator,
    connect: Connect,
    clock: ManualClock,
    hands: Hands,
    shared: bool,
    fault: Fault | None,
    again: bool,
) -> None:
    """Its access token, its refresh token, what others share. What may have been used is not sent again."""
    store = MemoryStore() if shared else None
    session = await on_a_chain(hands, connect, store)
    token = await session.token()
    if fault is None:
        emulator.issue(client_id="worker-2")  # which ends the one handed over
    else:
        emulator.fail("token", fault, times=None)
    with pytest.raises(NexudusAuthError) as failure:
        await session.sign_in()
    assert isinstance(failure.value, LoginRequiredError) is not again
    assert isinstance(failure.value.__cause__, TokenEndpointError)
    assert await session.token() is token
    assert (session.freshness, session.statistics().refused) == (Freshness.FRESH, False)
    emulator.faults.clear()
    tries = len(sent(emulator))
    if again:
        assert (await session.sign_in()).client_id == "worker-2"
        return
    with pytest.raises(LoginRequiredError):
        await session.sign_in()
    clock.advance(3600)
    await session.token()
    assert sent(emulator)[tries:] == [token.refresh_token]
    assert sent(emulator).count(hands.refresh_token) <= 2


@pytest.mark.parametrize("fault", [None, Fault.answer(503)], ids=["a wrong password", "an outage"])
async def test_a_failure_of_the_first_call_leaves_what_the_store_has(
    emulator: NexudusEmulator, connect: Connect, fault: Fault | None
) -> None:
    """A session that holds no token yet, and could not sign in, is served by the chain that others keep."""
    store = MemoryStore()
    shared = await (await connect(store=store)).token()
    if fault is not None:
        emulator.fail("token", fault, times=None)
    password = emulator.password if fault is not None else "wrong"
    session = await connect(PasswordCredentials(emulator.username, password), store=store)
    with pytest.raises(TokenEndpointError):
        await session.sign_in()
    asked = len(emulator.token_requests)
    assert (await session.token()).access_token == shared.access_token
    assert len(emulator.token_requests) == asked


@SHARED
async def test_what_was_not_sent_is_as_good_as_before(
    connect: Connect, clock: ManualClock, hands: Hands, emulator: NexudusEmulator, shared: bool
) -> None:
    """Nobody was there; later somebody is. The access token in hand is still to be used, too."""
    store = MemoryStore() if shared else None
    async with NexudusEmulator(clock=clock) as elsewhere:
        gone = elsewhere.url
    session = await connect(hands.with_access_token(), store=store, base_url=gone)
    for _ in range(2):
        with pytest.raises(EndpointUnavailableError, match="could not be reached"):
            await session.sign_in()
        assert session.freshness is Freshness.EMPTY
    clock.advance(60)
    assert (await session.token()).access_token == hands.access_token


@SHARED
async def test_an_access_token_that_nobody_has_checked_replaces_none(
    emulator: NexudusEmulator, connect: Connect, hands: Hands, shared: bool
) -> None:
    """The service is asked for another with the refresh token beside it, and until then it serves nobody."""
    store = MemoryStore() if shared else None
    session = await connect(hands.with_access_token(), store=store)
    held = await session.token()
    hands.over()
    emulator.issue(client_id="worker-2")
    with pytest.raises(LoginRequiredError):
        await session.sign_in()
    assert await session.token() is held
    async with session.get(CUSTOMER) as response:
        assert response.status == 200


async def test_what_is_known_of_the_refresh_token_held_is_kept(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, hands: Hands
) -> None:
    """Its answer was lost twice: it is not sent twice again, promptly, only because another was tried by hand."""
    session = await on_a_chain(hands, connect, None)
    held = await session.token()
    clock.advance(3600)
    emulator.fail("token", LOST, times=2)
    with pytest.raises(EndpointUnavailableError):
        await session.token()
    emulator.fail("token", LOST, times=None)
    with pytest.raises(LoginRequiredError):
        await session.sign_in()
    clock.advance(60)
    with pytest.raises(EndpointUnavailableError):
        await session.token()
    assert sent(emulator).count(held.refresh_token or "") == 3


@SHARED
@pytest.mark.parametrize("times", [1, 2])
async def test_requests_are_served_while_it_is_asked(
    emulator: NexudusEmulator, connect: Connect, hands: Hands, shared: bool, times: int
) -> None:
    """By the token held. Many at once ask once."""
    store = MemoryStore() if shared else None
    session = await on_a_chain(hands, connect, store)
    held = await session.token()
    with emulator.hold("token") as hold:
        asking = [asyncio.create_task(session.sign_in()) for _ in range(times)]
        await hold.wait()
        assert await session.token() is held
        assert session.freshness is Freshness.FRESH
    tokens = await asyncio.gather(*asking)
    assert {token.generation for token in tokens} == {held.generation + 1}
    assert len(sent(emulator)) == 2


# -- with a store ---------------------------------------------------------------------------------------------------


class Shaky(MemoryStore):
    """A store that can be down. saves: whether it takes anything."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.saves = True

    async def load(self, key: str) -> StoredToken | None:
        if self.down:
            raise StoreError("down")
        return await super().load(key)

    async def save(self, key: str, record: StoredToken) -> None:
        if self.down or not self.saves:
            raise StoreError("down")
        await super().save(key, record)


async def test_others_keep_the_chain_that_they_share(emulator: NexudusEmulator, connect: Connect, hands: Hands) -> None:
    """The record is as it was, but for what was tried."""
    store = MemoryStore()
    session = await on_a_chain(hands, connect, store)
    stored = await store.load(key_of(session))
    emulator.issue(client_id="worker-2")
    with pytest.raises(LoginRequiredError):
        await session.sign_in()
    assert stored is not None
    now = await store.load(key_of(session))
    assert now is not None
    before, after = (decode(each, key_of(session)) for each in (stored, now))
    assert after._replace(tried=()) == before._replace(tried=())
    assert len(after.tried) == len(before.tried) + 1
    other = await connect(store=store)
    assert (await other.token()).generation == (await session.token()).generation


@pytest.mark.parametrize("lives", [False, True], ids=["a refresh token", "with an access token"])
@pytest.mark.parametrize("how", ["down", "saves nothing"])
async def test_what_cannot_be_noted_is_not_sent(
    emulator: NexudusEmulator, connect: Connect, hands: Hands, lives: bool, how: str
) -> None:
    """Another process may be using it. What is held is as it was, and what was handed over is good later."""
    store = Shaky()
    credentials = hands.with_access_token() if lives else hands.credentials()
    session = await connect(credentials, store=store)
    held = await session.token()
    hands.over()
    tries = len(emulator.requests)
    store.down, store.saves = how == "down", how == "down"
    for _ in range(2):
        with pytest.raises(StoreError):
            await session.sign_in()
    assert await session.token() is held
    assert len(emulator.requests) == tries
    store.down, store.saves = False, True
    assert (await session.sign_in()).client_id == "worker-2"


async def test_who_wants_a_new_token_while_the_store_is_down_gets_no_old_one(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, hands: Hands
) -> None:
    """`refresh()` is not content with the access token in hand, and the refresh token beside it waits for the store."""
    store = Shaky()
    store.down = True
    session = await connect(hands.with_access_token(), store=store)
    with pytest.raises(StoreError):
        await session.refresh()
    clock.advance(1)
    assert (await session.token()).access_token == hands.access_token
    assert emulator.requests == []


@pytest.mark.parametrize("kind", ["a password", "tokens in hand"])
async def test_a_doubt_that_a_dead_process_has_left_stays(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, hands: Hands, kind: str
) -> None:
    """Its refresh token may have been used: what was tried by hand says nothing about it."""
    store = MemoryStore()
    password = emulator.password
    if kind == "a password":
        session = await connect(PasswordCredentials(emulator.username, lambda: password), store=store)
    else:
        session = await connect(hands.credentials(), store=store)
    held = await session.token()
    key = key_of(session)
    stored = await store.load(key)
    assert stored is not None
    await store.save(key, encode(decode(stored, key)._replace(in_doubt=True), key))
    password = "wrong"
    hands.over()
    emulator.issue(client_id="worker-2")
    with pytest.raises((CredentialsRejectedError, LoginRequiredError)):
        await session.sign_in()
    stored = await store.load(key)
    assert stored is not None
    record = decode(stored, key)
    assert record.in_doubt
    assert record.token is not None
    assert record.token.refresh_token == held.refresh_token


# -- a one-time JWT --------------------------------------------------------------------------------------------------

EXCHANGE = "/api/sys/users/exchange"


@SHARED
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.json({"error": "invalid_grant"}, 400), CredentialsRejectedError),
        (LOST, LoginRequiredError),
        (Fault.answer(503), EndpointUnavailableError),
    ],
    ids=["refused", "lost", "503"],
)
async def test_a_jwt_that_fails_leaves_the_token_held_as_it_was(
    emulator: NexudusEmulator,
    connect: Connect,
    clock: ManualClock,
    shared: bool,
    fault: Fault,
    error: type[NexudusAuthError],
) -> None:
    """And its chain. One that the service has not looked at is good for another try, any other is not sent again."""
    store = MemoryStore() if shared else None
    jwt = emulator.one_time_jwt()
    session = await connect(ExchangeCredentials(lambda: jwt, username=emulator.username), store=store)
    held = await session.token()
    jwt = emulator.one_time_jwt()
    emulator.fail(EXCHANGE, fault, times=None)
    with pytest.raises(error):
        await session.sign_in()
    assert await session.token() is held
    emulator.faults.clear()
    if error is EndpointUnavailableError:
        assert (await session.sign_in()).generation == held.generation + 1
        return
    tries = len(emulator.requests)
    with pytest.raises(LoginRequiredError, match="get another one"):
        await session.sign_in()
    assert len(emulator.requests) == tries
    clock.advance(held.lifetime)
    await session.token()
    assert sent(emulator) == [held.refresh_token]
    jwt = emulator.one_time_jwt()
    assert (await session.sign_in()).client_id == emulator.username


@pytest.mark.parametrize("kind", ["a password", "a JWT", "tokens in hand"])
async def test_a_token_that_has_expired_on_its_way_is_refreshed(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, hands: Hands, kind: str
) -> None:
    """The credentials have done their part: they are not sent again, and a JWT could not be."""
    clock.autojump = False
    credentials: Any = {
        "a password": PasswordCredentials(emulator.username, emulator.password),
        "a JWT": ExchangeCredentials(emulator.one_time_jwt(), valid_for=1),
        "tokens in hand": hands.credentials(),
    }[kind]
    session = await connect(credentials)
    with emulator.hold(EXCHANGE if kind == "a JWT" else "token", times=1) as hold:
        signing_in = asyncio.create_task(session.sign_in())
        await hold.wait()
        clock.advance(4000)
    assert (await signing_in).generation == 2
    first, second = emulator.requests
    assert first.form.get("grant_type") != second.form["grant_type"] or kind == "tokens in hand"
    assert second.form["grant_type"] == "refresh_token"
