"""`sign_in()`: the credentials are always sent, whatever there is here or in a store. For whoever checks a login."""

import asyncio

import pytest

from nexudus_async import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    Freshness,
    LoginRequiredError,
    MemoryStore,
    PasswordCredentials,
    SessionClosedError,
    TokenObtained,
    TokenSession,
)
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until

WRONG = PasswordCredentials("ops@example.com", "wrong")
SHARED = pytest.mark.parametrize("shared", [False, True], ids=["alone", "with a store"])


@pytest.fixture(autouse=True)
def autojump(clock: ManualClock) -> None:
    clock.autojump = True


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def grants(emulator: NexudusEmulator) -> list[str]:
    return [record.form["grant_type"] for record in emulator.token_requests]


async def test_a_wrong_password_does_not_sign_in_though_the_store_has_a_token(
    emulator: NexudusEmulator, connect: Connect, store: MemoryStore
) -> None:
    """`token()` is content with what is stored, `refresh()` too: a portal that relied on them would let anybody in."""
    owner = await connect(store=store)
    await owner.token()
    anybody = await connect(WRONG, store=store)
    assert await anybody.token()
    assert await anybody.refresh()
    with pytest.raises(CredentialsRejectedError):
        await anybody.sign_in()
    assert grants(emulator) == ["password", "refresh_token", "password"]


async def test_a_fresh_session_does_not_look_into_the_store_first(
    emulator: NexudusEmulator, connect: Connect, store: MemoryStore
) -> None:
    """Nothing was used before."""
    owner = await connect(store=store)
    await owner.token()
    anybody = await connect(WRONG, store=store)
    with pytest.raises(CredentialsRejectedError):
        await anybody.sign_in()
    assert anybody.freshness is Freshness.EMPTY


@SHARED
async def test_a_refusal_leaves_the_token_held_alone(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: MemoryStore, shared: bool
) -> None:
    """It is still served, and not refused; what others share is as it was."""
    password = emulator.password
    credentials = PasswordCredentials(emulator.username, lambda: password)
    session = await connect(credentials, store=store if shared else None)
    token = await session.token()
    password = "wrong"
    for _ in range(3):
        with pytest.raises(CredentialsRejectedError):
            await session.sign_in()
    assert await session.token() is token
    assert session.freshness is Freshness.FRESH
    assert not session.statistics().refused
    async with session.get(CUSTOMER) as response:
        assert response.status == 200
    clock.advance(3600)
    assert (await session.token()).generation == 2
    assert grants(emulator) == ["password"] * 4 + ["refresh_token"]


async def test_the_token_of_a_good_one_is_saved_above_the_record_and_adopted(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: MemoryStore
) -> None:
    """The chain goes on under its `client_id`, one generation higher."""
    one, two = await connect(store=store), await connect(store=store)
    await one.refresh()
    first = await two.token()
    new = await two.sign_in()
    assert new.generation == first.generation + 1
    assert new.client_id == first.client_id
    assert new.access_token != first.access_token
    three = await connect(store=store)
    assert (await three.token()).access_token == new.access_token
    clock.advance(3600)
    tokens = [await session.token() for session in (one, two, three)]
    assert {token.generation for token in tokens} == {new.generation + 1}
    assert grants(emulator) == ["password", "password", "refresh_token"]
    assert emulator.refresh_tokens_reused == 0


async def test_a_fresh_sessions_token_is_above_the_record_too(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: MemoryStore
) -> None:
    """Though it has never looked at the record."""
    one = await connect(store=store)
    for _ in range(3):
        await one.refresh()
    two = await connect(store=store)
    new = await two.sign_in()
    assert new.generation == (await one.token()).generation + 1
    clock.advance(3600)
    assert (await one.token()).generation > new.generation
    assert (emulator.sign_ins, emulator.refresh_tokens_reused) == (2, 0)


@SHARED
async def test_many_at_once_send_the_credentials_once(
    emulator: NexudusEmulator, connect: Connect, store: MemoryStore, shared: bool
) -> None:
    """They have the same ones."""
    session = await connect(store=store if shared else None)
    await session.token()
    tokens = await asyncio.gather(*(session.sign_in() for _ in range(50)))
    assert {token.generation for token in tokens} == {2}
    assert grants(emulator) == ["password", "password"]


@pytest.mark.parametrize("other", ["token", "refresh", "reject"])
async def test_it_joins_nothing_else(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, other: str
) -> None:
    """A refresh under way says nothing about the password: it is waited for, and then the credentials are sent."""
    session = await connect()
    token = await session.token()
    clock.autojump = False
    clock.advance(3600 if other == "token" else 0)
    with emulator.hold("token") as hold:
        arguments = [token] if other == "reject" else []
        first = asyncio.create_task(getattr(session.manager, other)(*arguments))
        await hold.wait()
        signing_in = asyncio.create_task(session.sign_in())
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(emulator.token_requests) == 2
    assert (await first).generation == 2
    assert (await signing_in).generation == 3
    assert grants(emulator) == ["password", "refresh_token", "password"]


async def test_others_may_join_it(emulator: NexudusEmulator, connect: Connect) -> None:
    """Whoever needs any token."""
    session = await connect()
    with emulator.hold("token") as hold:
        signing_in = asyncio.create_task(session.sign_in())
        await hold.wait()
        waiter = asyncio.create_task(session.token())
        await asyncio.sleep(0)
    assert await signing_in is await waiter
    assert len(emulator.token_requests) == 1


@SHARED
async def test_no_latch_and_no_pause_blocks_it(
    emulator: NexudusEmulator, connect: Connect, store: MemoryStore, shared: bool
) -> None:
    """Somebody stands there and types."""
    session = await connect(store=store if shared else None)
    emulator.user.suspended = True
    with pytest.raises(CredentialsRejectedError):
        await session.token()
    for _ in range(3):
        with pytest.raises(CredentialsRejectedError):
            await session.sign_in()
    assert len(emulator.token_requests) == 4
    emulator.user.suspended = False
    emulator.fail("token", Fault.answer(503), times=3)
    with pytest.raises(EndpointUnavailableError):
        await session.sign_in()
    assert await session.sign_in()
    assert session.freshness is Freshness.FRESH
    assert session.statistics().retry_in == 0


async def test_guesses_do_not_lock_the_owner_out_of_its_store(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: MemoryStore
) -> None:
    """The latch in the record is that of the wrong password; the right one is another."""
    owner = await connect(store=store)
    await owner.token()
    for guess in ("one", "two", "three"):
        async with TokenSession(
            PasswordCredentials(emulator.username, guess), base_url=emulator.url, store=store, clock=clock
        ) as anybody:
            with pytest.raises(CredentialsRejectedError):
                await anybody.sign_in()
    emulator.revoke_all()
    async with owner.get(CUSTOMER) as response:
        assert response.status == 200


async def test_without_credentials_it_says_so(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: MemoryStore
) -> None:
    """Though the store has a token; that one is served all the same."""
    await (await connect(store=store)).token()
    async with TokenSession(base_url=emulator.url, clock=clock, store=store, account=emulator.username) as worker:
        await worker.token()
        with pytest.raises(LoginRequiredError):
            await worker.sign_in()
        assert await worker.token()
    assert grants(emulator) == ["password"]


async def test_after_close_and_after_a_logout(emulator: NexudusEmulator, connect: Connect) -> None:
    """Closed is closed; a logout is where one signs in again."""
    session = await connect(store=MemoryStore())
    await session.token()
    await session.logout()
    token = await session.sign_in()
    assert await session.token() is token
    await session.close()
    with pytest.raises(SessionClosedError):
        await session.sign_in()
    assert grants(emulator) == ["password", "password"]


async def test_close_and_logout_end_it(emulator: NexudusEmulator, connect: Connect) -> None:
    """Also while it waits for a refresh that is under way."""
    for end, error in (("logout", LoginRequiredError), ("close", SessionClosedError)):
        session = await connect()
        await session.token()
        with emulator.hold("token") as hold:
            refreshing = asyncio.create_task(session.refresh())
            await hold.wait()
            signing_in = asyncio.create_task(session.sign_in())
            await asyncio.sleep(0)
            ending = asyncio.create_task(getattr(session, end)())
            await asyncio.sleep(0)
        results = await asyncio.gather(refreshing, signing_in, ending, return_exceptions=True)
        assert type(results[0]) is error
        if end == "close":
            assert type(results[1]) is SessionClosedError


async def test_it_is_told_as_a_sign_in(connect: Connect) -> None:
    """An event like any other."""
    session = await connect()
    await session.token()
    await session.sign_in()
    assert [(event.grant, event.reason) for event in connect.events if isinstance(event, TokenObtained)] == [
        ("password", "empty"),
        ("password", "requested"),
    ]


async def test_cancelling_it_loses_nothing(emulator: NexudusEmulator, connect: Connect) -> None:
    """The flight goes on."""
    session = await connect()
    with emulator.hold("token") as hold:
        signing_in = asyncio.create_task(session.sign_in())
        await hold.wait()
        signing_in.cancel()
        await asyncio.gather(signing_in, return_exceptions=True)
    await until(lambda: session.freshness is Freshness.FRESH)
    assert len(emulator.token_requests) == 1


async def test_keep_alive_begins_with_it(connect: Connect, clock: ManualClock) -> None:
    """It is a first use."""
    clock.autojump = False
    session = await connect(keep_alive=True)
    await session.sign_in()
    assert [task for task in asyncio.all_tasks() if task.get_name() == "nexudus_async keep-alive"]
