"""Sessions that share a chain through a store, in one process and on one clock: every step can be seen."""

import asyncio
import json
import logging
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from cryptography.fernet import Fernet

from nexudus_async import (
    ConfigurationError,
    CredentialsRejectedError,
    EncryptedStore,
    Freshness,
    LoginRequiredError,
    MemoryStore,
    NexudusAuthError,
    PasswordCredentials,
    RefreshPolicy,
    StoredToken,
    StoreError,
    StoreFailed,
    TokenAdopted,
    TokenSession,
)
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until
from tests.inside import key_of, refuse

NO_JITTER = RefreshPolicy(jitter=0)


class Fragile:
    """A store in memory that can be switched off."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        self.down = False
        self.saves_down = False
        self.loads = 0

    async def load(self, key: str) -> StoredToken | None:
        self.loads += 1
        self._check(down=self.down)
        return await self._store.load(key)

    async def save(self, key: str, record: StoredToken) -> None:
        self._check(down=self.down or self.saves_down)
        await self._store.save(key, record)

    def refresh_lock(self, key: str) -> AbstractAsyncContextManager[None]:
        self._check(down=self.down)
        return self._store.refresh_lock(key)

    async def clear(self, key: str) -> None:
        await self._store.clear(key)

    @staticmethod
    def _check(*, down: bool) -> None:
        if down:
            raise StoreError("the store is switched off")


@pytest.fixture
def store() -> Fragile:
    return Fragile()


@pytest.fixture(autouse=True)
def autojump(clock: ManualClock) -> None:
    clock.autojump = True  # waits between looks at the store take no real time


async def test_a_fleet_signs_in_once_and_refreshes_once(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """Twenty sessions, five lifetimes: one sign-in and one refresh each time; the rest adopt."""
    fleet = [await connect(store=store) for _ in range(20)]
    for _ in range(5):
        tokens = await asyncio.gather(*(session.token() for session in fleet))
        assert len({token.access_token for token in tokens}) == 1
        clock.advance(3600)
    assert (emulator.sign_ins, emulator.renewals, emulator.refresh_tokens_reused) == (1, 4, 0)
    assert emulator.max_concurrent_token_requests == 1


async def test_a_fleet_in_the_advisory_window_refreshes_once_and_nobody_waits(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """All see the window at the same moment; requests are served meanwhile."""
    fleet = [await connect(store=store, policy=NO_JITTER) for _ in range(20)]
    old = {(await session.token()).generation for session in fleet}
    clock.advance(2700)
    with emulator.hold("token") as hold:
        for session in fleet:
            assert (await session.token()).generation in old
        await hold.wait()
    await until(lambda: any(session.freshness is Freshness.FRESH for session in fleet))
    clock.advance(10)  # those who found the lock held leave it at that for a moment
    for session in fleet:
        await session.token()
    await until(lambda: all(session.freshness is Freshness.FRESH for session in fleet))
    assert emulator.renewals == 1


async def test_a_restart_needs_no_sign_in_even_after_a_change_of_password(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """The next process adopts the token, and refreshes by its refresh token while the chain lives."""
    first = await connect(store=store)
    token = await first.token()
    await first.close()
    emulator.user.password = "changed meanwhile"
    second = await connect(PasswordCredentials(emulator.username, "old"), store=store)
    assert (await second.token()).access_token == token.access_token
    clock.advance(3600)
    assert await second.token()
    assert (emulator.sign_ins, emulator.renewals) == (1, 1)
    assert any(isinstance(event, TokenAdopted) for event in connect.events)


async def test_the_chain_keeps_its_client_id(emulator: NexudusEmulator, connect: Connect, store: Fragile) -> None:
    """Made at the first sign-in; a sign-in of another process, after the chain has ended, repeats it."""
    one, two = await connect(store=store), await connect(store=store)
    client_id = (await one.token()).client_id
    await two.token()
    emulator.revoke_all()
    async with two.get(CUSTOMER) as response:
        assert response.status == 200
    assert (await two.token()).client_id == client_id
    assert emulator.sign_ins == 2


async def test_a_token_refused_with_401_is_not_adopted_again(
    emulator: NexudusEmulator, connect: Connect, store: Fragile
) -> None:
    """The record holds the very token that was refused: it is refreshed, once, for all who share it."""
    fleet = [await connect(store=store) for _ in range(10)]
    for session in fleet:
        await session.token()
    emulator.revoke_access_tokens()

    async def fetch(session: TokenSession) -> int:
        async with session.get(CUSTOMER) as response:
            return response.status

    assert set(await asyncio.gather(*(fetch(session) for session in fleet))) == {200}
    assert (emulator.sign_ins, emulator.renewals) == (1, 1)


async def test_a_session_without_credentials_lives_on_the_store(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """It is signed in elsewhere, runs for ever, and says what to do when the chain ends."""
    options: dict[str, Any] = {
        "base_url": emulator.url, "clock": clock, "store": store, "account": emulator.username.upper()
    }  # fmt: skip
    async with TokenSession(**options) as worker:
        with pytest.raises(LoginRequiredError, match="sign in where the password is"):
            await worker.token()
        async with await connect(store=store) as elsewhere:
            await elsewhere.token()
        clock.advance(30)
        for _ in range(3):
            async with worker.get(CUSTOMER) as response:
                assert response.status == 200
            clock.advance(3600)
        assert (emulator.sign_ins, emulator.renewals) == (1, 2)
        emulator.revoke_all()
        with pytest.raises(LoginRequiredError):
            await worker.token()


@pytest.mark.parametrize(
    ("options", "says"),
    [({}, "pass credentials"), ({"account": "a@b.c"}, "pass credentials"), ({"store": MemoryStore()}, "account=")],
)
def test_a_session_that_could_never_have_a_token_is_refused(options: dict[str, Any], says: str) -> None:
    """Neither credentials nor a store to find tokens in."""
    with pytest.raises(ConfigurationError, match=says):
        TokenSession(**options)


async def test_a_logout_reaches_the_others(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """At their next refresh they drop the chain and sign in; without credentials they are told."""
    one, two = await connect(store=store), await connect(store=store)
    options: dict[str, Any] = {"base_url": emulator.url, "clock": clock, "store": store, "account": emulator.username}
    async with TokenSession(**options) as worker:
        for session in (one, two, worker):
            await session.token()
        await one.logout()
        clock.advance(3600)
        with pytest.raises(LoginRequiredError):
            await worker.token()
        assert await two.token()
        assert (emulator.sign_ins, emulator.renewals) == (2, 0)
        clock.advance(60)
        assert (await worker.token()).generation == (await two.token()).generation


async def test_a_logout_that_the_store_did_not_take_is_left_there_later(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """The others hear of it when the store is back."""
    one, two = await connect(store=store), await connect(store=store)
    for session in (one, two):
        await session.token()
    store.saves_down = True
    await one.logout()
    store.saves_down = False
    await until(lambda: one.statistics().unsaved == 0)
    clock.advance(3600)
    assert await two.token()
    assert (emulator.sign_ins, emulator.renewals) == (2, 0)


async def test_an_absent_record_is_no_logout_and_no_blank_sheet(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """Somebody emptied the store, and its locks: another may be refreshing, so the refresh token is not sent."""
    session = await connect(store=store)
    await session.token()
    await store.clear(key_of(session))
    clock.advance(3600)
    await session.token()
    assert (emulator.sign_ins, emulator.renewals) == (2, 0)
    assert await store.load(key_of(session)) is not None


async def test_wrong_credentials_are_latched_for_the_fleet(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """Ten processes with the same wrong password send it three times in all, not thirty; new ones do not start over."""
    wrong = PasswordCredentials(emulator.username, "wrong")
    for _ in range(6):
        fleet = [await connect(wrong, store=store) for _ in range(10)]
        for session in fleet:
            with pytest.raises(CredentialsRejectedError):
                await session.token()
        clock.advance(301)
    assert len(emulator.token_requests) == 4, "and a process that was started since may try once"
    right = await connect(store=store)
    assert await right.token()
    assert len(emulator.token_requests) == 5


async def test_a_corrected_password_does_not_rest(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """Only what was refused rests: whoever starts again with the right one does not wait."""
    for password in ("wrong", "wrong", "as wrong"):
        session = await connect(PasswordCredentials(emulator.username, password), store=store)
        with pytest.raises(CredentialsRejectedError) as caught:
            await session.token()
    assert len(emulator.token_requests) == 2
    again = await connect(PasswordCredentials(emulator.username, "as wrong"), store=store)
    with pytest.raises(CredentialsRejectedError, match="for another 300 s") as caught:
        await again.token()
    assert "as wrong" not in str(caught.value)
    right = await connect(store=store)
    assert await right.token()


async def test_a_dead_store_costs_nobody_a_request(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """Before the hard margin nothing is refreshed; within it each process signs in for itself; later they share."""
    fleet = [await connect(store=store, policy=NO_JITTER) for _ in range(3)]
    for session in fleet:
        await session.token()
    store.down = True
    clock.advance(3000)
    for session in fleet:
        async with session.get(CUSTOMER) as response:
            assert response.status == 200
    await until(lambda: all("refreshing" not in repr(session) for session in fleet))
    assert len(emulator.token_requests) == 1
    clock.advance(600)
    for session in fleet:
        async with session.get(CUSTOMER) as response:
            assert response.status == 200
    assert (emulator.sign_ins, emulator.renewals, emulator.renewals_refused) == (4, 0, 0)
    assert len({(await session.token()).client_id for session in fleet}) == 3
    store.down = False
    await until(lambda: all(session.manager.statistics().unsaved == 0 for session in fleet))
    clock.advance(3600)
    tokens = [await session.token() for session in fleet]
    assert len({token.access_token for token in tokens}) == 1
    assert emulator.renewals == 1
    assert any(isinstance(event, StoreFailed) for event in connect.events)


async def test_a_refreshed_token_that_could_not_be_saved_is_saved_when_the_store_is_back(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """Without waiting for the next refresh: a restart finds it."""
    clock.autojump = False
    session = await connect(store=store)
    await session.token()
    clock.advance(3600)
    with emulator.hold("token") as hold:
        refreshing = asyncio.create_task(session.token())
        await hold.wait()
        store.saves_down = True
    token = await refreshing
    await until(lambda: session.statistics().unsaved == 1)
    store.saves_down = False
    await clock.wait_for_sleepers()
    clock.advance(2)
    await until(lambda: session.statistics().unsaved == 0)
    another = await connect(store=store)
    assert (await another.token()).access_token == token.access_token
    assert (emulator.sign_ins, emulator.renewals) == (1, 1)


async def test_a_clock_that_jumps_is_not_driven_by_the_attempts_to_save(
    connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """Or time would run away for as long as the store is down."""
    session = await connect(store=store)
    store.saves_down = True
    began = clock.monotonic()
    await session.token()
    await asyncio.sleep(0.05)
    assert clock.monotonic() - began < 1
    assert session.freshness is Freshness.FRESH


async def test_close_offers_the_store_once_more_what_it_did_not_take(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """The last chance before the process ends."""
    clock.autojump = False
    session = await connect(store=store)
    store.saves_down = True
    token = await session.token()
    store.saves_down = False
    await session.close()
    another = await connect(store=store)
    assert (await another.token()).access_token == token.access_token


async def test_close_ends_the_attempts_to_save(connect: Connect, clock: ManualClock, store: Fragile) -> None:
    """A store that stays down keeps no task alive."""
    clock.autojump = False
    session = await connect(store=store)
    store.saves_down = True
    await session.token()
    await clock.wait_for_sleepers()
    assert [task for task in asyncio.all_tasks() if task.get_name() == "nexudus_async saver"]
    await session.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "nexudus_async saver"]


async def test_a_flight_that_close_cuts_off_begins_no_attempt_to_save(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """It ends after the attempts were ended."""
    clock.autojump = False
    session = await connect(store=store, policy=RefreshPolicy(close_timeout=0))
    store.saves_down = True
    token = await session.token()
    with emulator.hold("token") as hold:
        refuse(session.manager, token)
        await hold.wait()
        await session.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "nexudus_async saver"]


async def test_without_credentials_a_refusal_in_a_race_is_no_end_while_the_store_is_down(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """Another process may hold the newer token: it is adopted when the store answers again."""
    options: dict[str, Any] = {"base_url": emulator.url, "clock": clock, "store": store, "account": emulator.username}
    elsewhere = await connect(store=store)
    await elsewhere.token()
    async with TokenSession(**options) as worker:
        await worker.token()
        clock.advance(3600)
        await elsewhere.token()
        store.down = True
        with pytest.raises(NexudusAuthError, match="while the store is down"):
            await worker.token()
        store.down = False
        clock.advance(60)
        async with worker.get(CUSTOMER) as response:
            assert response.status == 200
    assert emulator.sign_ins == 1


async def test_hosts_whose_clocks_differ_by_ten_minutes_share_a_chain(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """Remaining life is clamped; no request fails and no token is refreshed more than its share."""

    class Ahead:
        def __init__(self, seconds: float) -> None:
            self.seconds = seconds

        def monotonic(self) -> float:
            return clock.monotonic()

        def wall(self) -> float:
            return clock.wall() + self.seconds

        async def sleep(self, seconds: float) -> None:
            await clock.sleep(seconds)

    fleet = [await connect(store=store, clock=Ahead(skew)) for skew in (0, 600, -600)]
    for _ in range(36):
        for session in fleet:
            async with session.get(CUSTOMER) as response:
                assert response.status == 200
            await until(lambda: "refreshing" not in repr(session))  # noqa: B023 - awaited at once
        clock.advance(300)
    assert emulator.sign_ins == 1
    assert emulator.renewals <= 6
    assert emulator.refresh_tokens_reused == 0


@pytest.mark.parametrize(
    "payload",
    [
        "", "not json secret", "[]", "{}", '{"version": 1, "key": "other"}', '{"version": 1}', '"secret"',
        "1e999", "null", '{"version": "2"}', '{"version": 1.5}', '{"version": null}', '{"version": 0}',
        pytest.param("[" * 100_000, id="very deep"), pytest.param('{"version":' * 100_000, id="deep and ours"),
        pytest.param("9" * 5000, id="a huge number"),
    ],
)  # fmt: skip
async def test_an_unreadable_record_is_an_event_and_is_replaced_by_a_sign_in(
    emulator: NexudusEmulator, connect: Connect, store: Fragile, payload: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not a crash; nothing of it is shown."""
    session = await connect(store=store)
    await store.save(key_of(session), StoredToken(7, payload))
    with caplog.at_level(logging.DEBUG):
        assert await session.token()
        await asyncio.sleep(0)
    assert [event.operation for event in connect.events if isinstance(event, StoreFailed)]
    assert "secret" not in caplog.text
    assert (await session.refresh()).generation == 9
    another = await connect(store=store)
    assert (await another.token()).access_token == (await session.token()).access_token


TAMPERED: list[dict[str, Any]] = [
    {"access_token": "secret\r\nX-Evil: 1"},
    {"access_token": ""},
    {"access_token": "secret\N{SNOWMAN}"},
    {"refresh_token": "secret\x00"},
    {"refresh_token": "secret\udc80"},
    {"client_id": "secret\n"},
    {"client_id": "secret\N{SNOWMAN}"},
    {"lifetime": float("nan")},
    {"lifetime": float("inf")},
    {"lifetime": -1},
]


@pytest.mark.parametrize("change", TAMPERED, ids=str)
async def test_a_record_with_a_token_that_cannot_be_is_unreadable(
    emulator: NexudusEmulator,
    connect: Connect,
    store: Fragile,
    change: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Somebody wrote into the store: an event and a sign-in, and nothing of it in a header, an error or a log."""
    async with await connect(store=store) as first:
        await first.token()
    stored = await store.load(key_of(first))
    assert stored is not None
    document = json.loads(stored.payload)
    document["token"].update(change)
    await store.save(key_of(first), StoredToken(stored.generation, json.dumps(document)))
    second = await connect(store=store)
    assert await second.refresh()
    await asyncio.sleep(0)
    assert {event.operation for event in connect.events if isinstance(event, StoreFailed)} == {"load"}
    assert emulator.sign_ins == 2
    assert "secret" not in caplog.text + str(connect.events)


async def test_a_wrong_key_is_an_event_and_a_fresh_sign_in(
    emulator: NexudusEmulator, connect: Connect, store: Fragile
) -> None:
    """What cannot be decrypted is never accepted; the process signs in for itself."""
    old, new = Fernet.generate_key(), Fernet.generate_key()
    first = await connect(store=EncryptedStore(store, old))
    second = await connect(store=EncryptedStore(store, new))
    third = await connect(store=EncryptedStore(store, old, new))
    token = await first.token()
    assert (await second.token()).access_token != token.access_token
    assert [event for event in connect.events if isinstance(event, StoreFailed)]
    assert await third.token()


async def test_a_flight_that_finishes_waits_for_its_save_before_the_next(
    emulator: NexudusEmulator, connect: Connect, store: Fragile
) -> None:
    """`refresh()` right after a refresh does not overtake the save of the one before."""
    session = await connect(store=store)
    first = await session.token()
    second = await session.refresh()
    assert second.generation == first.generation + 1
    record = await store.load(key_of(session))
    while record is not None and record.generation < second.generation:
        await asyncio.sleep(0)
        record = await store.load(key_of(session))
    assert emulator.max_concurrent_token_requests == 1


async def test_the_store_key_names_nobody(connect: Connect, store: Fragile) -> None:
    """A hash: no e-mail, no origin."""
    session = await connect(store=store)
    assert "ops" not in key_of(session)
    assert "@" not in key_of(session)


async def test_a_refresh_by_hand_refreshes_though_the_store_has_a_token(
    emulator: NexudusEmulator, connect: Connect, store: Fragile
) -> None:
    """A session that holds nothing yet does not take the record for the answer; it refreshes what is there."""
    one, two = await connect(store=store), await connect(store=store)
    token = await one.token()
    assert (await two.refresh()).generation == token.generation + 1
    assert (emulator.sign_ins, emulator.renewals) == (1, 1)


async def test_a_fresh_token_costs_the_store_nothing(connect: Connect, store: Fragile) -> None:
    """Not one look per request."""
    session = await connect(store=store)
    await session.token()
    before = store.loads
    for _ in range(100):
        await session.token()
    assert store.loads == before


async def test_a_failed_first_sign_in_leaves_a_pause_in_the_store(
    emulator: NexudusEmulator, connect: Connect, store: Fragile
) -> None:
    """That is all there is to tell the others."""
    session = await connect(store=store)
    emulator.fail("token", Fault.answer(503), times=3)
    with pytest.raises(NexudusAuthError):
        await session.token()
    stored = await store.load(key_of(session))
    assert stored is not None
    document = json.loads(stored.payload)
    assert (stored.generation, document["token"], document["pause"]["failures"]) == (0, None, 1)


async def test_faults_of_a_shared_refresh_are_back_off_as_ever(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Fragile
) -> None:
    """A refused sign-in gives the lock back; the pause is the fleet's, and whoever comes after it may try."""
    one, two = await connect(store=store), await connect(store=store)
    emulator.fail("token", Fault.json({"error": "unsupported_grant_type"}, 400))
    with pytest.raises(NexudusAuthError):
        await one.token()
    with pytest.raises(NexudusAuthError, match="unsupported_grant_type"):
        await two.token()
    assert len(emulator.token_requests) == 1
    clock.advance(1)
    assert await two.token()
    assert (await one.token()).generation == (await two.token()).generation
