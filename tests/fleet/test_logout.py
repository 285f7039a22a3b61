"""A logout in a fleet: nothing brings the chain back that it has ended, whatever goes on at the same time."""

import asyncio
import contextvars
from typing import Any

import pytest

from nexudus_async import LoginRequiredError, MemoryStore, StoredToken, StoreError, TokenAdopted, TokenSession
from nexudus_async.testing import ManualClock, NexudusEmulator
from tests.conftest import Connect, until
from tests.inside import key_of

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


class Slow(MemoryStore):
    """A store whose answers can be held up, or refused. stubborn: whether it goes on although it is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.down = self.stubborn = False
        self.seen: list[str] = []

    async def load(self, key: str) -> StoredToken | None:
        await self._pass()
        return await super().load(key)

    async def save(self, key: str, record: StoredToken) -> None:
        self.seen.append(VARIABLE.get())
        await self._pass()
        await super().save(key, record)

    async def _pass(self) -> None:
        while not self.open.is_set():
            try:
                await self.open.wait()
            except asyncio.CancelledError:
                if not self.stubborn:
                    raise
        if self.down:
            raise StoreError("the store is switched off")


@pytest.fixture
def store() -> Slow:
    return Slow()


@pytest.fixture(autouse=True)
def autojump(clock: ManualClock) -> None:
    clock.autojump = True


async def test_calls_during_a_logout_do_not_bring_the_token_back(
    emulator: NexudusEmulator, connect: Connect, store: Slow
) -> None:
    """They find the old record before the tombstone is there, and sign in rather than take it."""
    session = await connect(store=store)
    old = await session.token()
    store.open.clear()
    leaving = asyncio.create_task(session.logout())
    callers = [asyncio.create_task(session.token()) for _ in range(3)]
    await asyncio.sleep(0)
    store.open.set()
    await leaving
    for token in await asyncio.gather(*callers, return_exceptions=True):
        assert getattr(token, "access_token", None) != old.access_token
    assert (await session.token()).access_token != old.access_token
    assert not [event for event in connect.events if isinstance(event, TokenAdopted)]
    assert emulator.renewals == 0


async def test_a_session_without_credentials_stays_logged_out(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Slow
) -> None:
    """Its callers are told, and go on being told, until somebody signs in elsewhere."""
    elsewhere = await connect(store=store)
    await elsewhere.token()
    options: dict[str, Any] = {"base_url": emulator.url, "clock": clock, "store": store, "account": emulator.username}
    async with TokenSession(**options) as worker:
        await worker.token()
        store.open.clear()
        leaving = asyncio.create_task(worker.logout())
        caller = asyncio.create_task(worker.token())
        await asyncio.sleep(0)
        store.open.set()
        await leaving
        with pytest.raises(LoginRequiredError):
            await caller
        clock.advance(60)
        with pytest.raises(LoginRequiredError):
            await worker.token()
        await elsewhere.refresh()
        clock.advance(60)
        assert await worker.token()


async def test_a_cancelled_logout_is_one(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: Slow
) -> None:
    """Another process was refreshing: this one is logged out at once, and the others when they come to look."""
    one, two = await connect(store=store), await connect(store=store)
    old = await one.token()
    await two.token()
    clock.autojump = False
    async with store.refresh_lock(key_of(one)):
        leaving = asyncio.create_task(one.logout())
        await clock.wait_for_sleepers()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    await clock.wait_for_sleepers()  # what is left to save
    clock.autojump = True
    clock.advance(2)
    await until(lambda: one.statistics().unsaved == 0)
    assert (await one.token()).access_token != old.access_token
    clock.advance(3600)
    assert await two.token()
    assert (emulator.sign_ins, emulator.renewals) == (2, 1)


async def test_a_store_that_was_down_during_a_logout_does_not_bring_the_token_back(
    emulator: NexudusEmulator, connect: Connect, store: Slow
) -> None:
    """It still has the old record when it answers again."""
    session = await connect(store=store)
    old = await session.token()
    store.down = True
    await session.logout()
    store.down = False
    assert (await session.token()).access_token != old.access_token
    assert (emulator.sign_ins, emulator.renewals) == (2, 0)


async def test_a_look_at_the_store_that_outlives_a_logout_leads_to_no_sign_in(
    emulator: NexudusEmulator, connect: Connect, store: Slow
) -> None:
    """A store that cannot be interrupted answers too late: nobody wants the token that would come of it."""
    session = await connect(store=store)
    await session.token()
    store.open.clear()
    store.stubborn = True
    caller = asyncio.create_task(session.refresh())
    for _ in range(5):
        await asyncio.sleep(0)
    leaving = asyncio.create_task(session.logout())
    for _ in range(5):
        await asyncio.sleep(0)
    store.open.set()
    await leaving
    with pytest.raises(LoginRequiredError):
        await caller
    assert len(emulator.token_requests) == 1


async def test_a_logout_runs_in_nobodys_context(connect: Connect, store: Slow) -> None:
    """As a refresh does: it goes on when its caller is gone, and the variables and spans of that one end with it."""
    session = await connect(store=store)
    await session.token()
    VARIABLE.set("the caller's")
    await session.logout()
    assert store.seen == ["unset", "unset"]
