"""A refresh that its process did not live to finish, or whose end it does not know: what the next process does."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from nexudus_async import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    LoginRequiredError,
    MemoryStore,
    PasswordCredentials,
    RefreshPolicy,
    StoredToken,
    StoreError,
    StoreFailed,
    Token,
    TokenManager,
    TokenSession,
)
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import Connect, until
from tests.inside import refuse

MORTAL = RefreshPolicy(jitter=0, close_timeout=0)
"""With this policy, `close()` ends a session as a kill would: in the middle of a request, and without a save."""


@pytest.fixture(autouse=True)
def autojump(clock: ManualClock) -> None:
    clock.autojump = True


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def fleet(connect: Connect, store: MemoryStore, size: int) -> list[TokenSession]:
    """Return sessions that share a token, and know it."""
    sessions = [await connect(store=store, policy=MORTAL) for _ in range(size)]
    for session in sessions:
        await session.token()
    return sessions


async def die(emulator: NexudusEmulator, session: TokenSession, fault: Fault | None = None) -> None:
    """End `session` while its refresh is under way; without a fault, the service has used the refresh token."""
    token = await session.token()
    with emulator.hold("token", times=1, fault=fault) as hold:
        refuse(session.manager, token)
        await hold.wait()
        await session.close()
    await until(lambda: emulator.token_requests[-1].finished is not None)


@pytest.mark.parametrize("seconds", [0, 11, -600], ids=["at once", "later", "on a host whose clock is another"])
@pytest.mark.parametrize("fault", [None, Fault.dropped()], ids=["used", "not used"])
async def test_a_refresh_token_that_a_dead_process_has_sent_is_not_sent_again(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: MemoryStore, seconds: float, fault: Fault
) -> None:
    """The service may have used it: the next process signs in."""
    one, two = await fleet(connect, store, 2)
    await die(emulator, one, fault)
    if seconds >= 0:
        clock.advance(seconds)
    else:
        clock.step_wall(seconds)
    assert await two.refresh()
    assert [record.form["grant_type"] for record in emulator.token_requests] == [
        "password",
        "refresh_token",
        "password",
    ]
    assert emulator.refresh_tokens_reused == 0


async def test_a_refused_refresh_token_is_not_sent_by_the_others_either(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: MemoryStore
) -> None:
    """Though the sign-in after it failed, so that there is no newer one: they know, and sign in."""
    sessions = await fleet(connect, store, 4)
    emulator.fail("token", Fault.json({"error": "invalid_grant"}, 400))
    emulator.fail("token", Fault.answer(503), times=3)
    with pytest.raises(EndpointUnavailableError):
        await sessions[0].refresh()
    for session in sessions[1:]:
        assert await session.token()
    clock.advance(3600)
    for session in sessions:
        assert await session.token()
    grants = [record.form["grant_type"] for record in emulator.token_requests]
    assert grants == ["password", "refresh_token", *3 * ["password"], "password"]


async def test_a_rejected_password_takes_nothing_from_the_record(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: MemoryStore
) -> None:
    """Neither a dead process's note nor the token: who has the right password does not send what may have been used."""
    one, two = await fleet(connect, store, 2)
    await die(emulator, one)
    wrong = await connect(PasswordCredentials(emulator.username, "wrong"), store=store)
    with pytest.raises(CredentialsRejectedError):
        await wrong.refresh()
    clock.advance(20)
    assert await two.refresh()
    assert emulator.refresh_tokens_reused == 0


async def test_a_rejected_password_does_not_undo_a_logout(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: MemoryStore
) -> None:
    """The tombstone stays: the others drop the chain."""
    one, two = await fleet(connect, store, 2)
    await one.logout()
    wrong = await connect(PasswordCredentials(emulator.username, "wrong"), store=store)
    with pytest.raises(CredentialsRejectedError):
        await wrong.token()
    clock.advance(3600)
    assert await two.token()
    assert (emulator.sign_ins, emulator.renewals) == (2, 0)


async def test_what_cannot_be_noted_is_not_sent(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: each process would send the same refresh token. They sign in apart, when there is no other way."""
    store = MemoryStore()
    sessions = await fleet(connect, store, 3)

    async def full(_self: MemoryStore, _key: str, _record: StoredToken) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr(MemoryStore, "save", full)
    clock.advance(3000)
    for session in sessions:
        assert await session.token()
    assert len(emulator.token_requests) == 1
    clock.advance(3600)
    for session in sessions:
        assert await session.token()
    assert (emulator.sign_ins, emulator.renewals, emulator.renewals_refused) == (4, 0, 0)
    assert len({record.headers["client_id"] for record in emulator.token_requests}) == 4


async def test_where_nobody_can_sign_in_a_doubtful_refresh_token_is_better_than_none(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: MemoryStore
) -> None:
    """A worker without credentials sends it, however late, and goes on when the service has not used it."""
    options: dict[str, Any] = {"base_url": emulator.url, "clock": clock, "store": store, "account": emulator.username}
    one = await connect(store=store, policy=MORTAL)
    await die(emulator, one, Fault.dropped())
    clock.advance(3600)
    async with TokenSession(**options) as worker:
        assert await worker.token()
    assert (emulator.sign_ins, emulator.renewals) == (1, 1)


@pytest.mark.parametrize("fault", [Fault.answer(503), Fault.throttled(3600)], ids=["503", "409"])
async def test_a_failure_that_used_no_refresh_token_leaves_no_doubt(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: MemoryStore, fault: Fault
) -> None:
    """The next process refreshes whenever it likes."""
    one, two = await fleet(connect, store, 2)
    emulator.fail("token", fault)
    with pytest.raises(EndpointUnavailableError):
        await one.refresh()
    clock.advance(60)
    assert await two.refresh()
    assert (emulator.sign_ins, emulator.renewals) == (1, 1)


async def test_a_lost_answer_is_known_to_the_next_process(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: MemoryStore
) -> None:
    """Sent twice without an answer, and the sign-in failed as well: nobody sends it a third time."""
    one, two = await fleet(connect, store, 2)
    emulator.fail("token", Fault.dropped(), times=2)
    emulator.fail("token", Fault.answer(503), times=3)
    with pytest.raises(EndpointUnavailableError):
        await one.refresh()
    assert await two.refresh()
    assert [record.form["grant_type"] for record in emulator.token_requests] == [
        "password", *2 * ["refresh_token"], *4 * ["password"]
    ]  # fmt: skip


async def test_a_fixed_code_keeps_a_doubtful_refresh_token(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: MemoryStore
) -> None:
    """Nobody is there to type another code: the next process, too, sends the refresh token rather than give up."""
    typed = PasswordCredentials(emulator.username, emulator.password, "123456")
    one, two = await connect(store=store), await connect(typed, store=store)
    await one.token()
    emulator.fail("token", Fault.dropped(), times=2)
    emulator.fail("token", Fault.answer(503), times=3)
    with pytest.raises(EndpointUnavailableError):
        await one.refresh()
    clock.advance(3600)
    assert await two.token()
    assert (emulator.sign_ins, emulator.renewals) == (1, 1)


async def test_a_source_of_another_kind_is_not_asked_what_it_does_not_know(clock: ManualClock) -> None:
    """One that only signs in and refreshes works with a store as without, at one save for each token."""
    saved: list[int] = []

    class Counting(MemoryStore):
        async def save(self, key: str, record: StoredToken) -> None:
            saved.append(record.generation)
            await super().save(key, record)

    class Plain:
        key = "plain"

        async def login(self) -> Token:
            return Token(
                access_token="a", refresh_token="r", token_type="bearer", client_id=None, lifetime=3600,
                expires_at=datetime.fromtimestamp(clock.wall() + 3600, UTC),
            )  # fmt: skip

        async def refresh(self, token: Token) -> Token:
            return await self.login()

    manager = TokenManager(Plain(), store=Counting(), clock=clock)
    await manager.token()
    await manager.refresh()
    await manager.close()
    assert saved == [1, 2]


async def test_a_session_without_credentials_is_told_when_a_doubtful_refresh_token_was_used(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: MemoryStore
) -> None:
    """It asks the service, which knows, and then says what to do."""
    options: dict[str, Any] = {"base_url": emulator.url, "clock": clock, "store": store, "account": emulator.username}
    one = await connect(store=store, policy=MORTAL)
    await die(emulator, one)
    clock.advance(3600)
    async with TokenSession(**options) as worker:
        with pytest.raises(LoginRequiredError):
            await worker.token()


async def test_a_lock_that_cannot_be_given_back_takes_no_token_away(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """It ends by itself; the refresh it was for has succeeded."""

    class Clinging(MemoryStore):
        @asynccontextmanager
        async def refresh_lock(self, key: str) -> AsyncGenerator[None]:
            yield
            raise StoreError("the server is gone")

    session = await connect(store=Clinging())
    assert await session.token()
    assert await session.refresh()
    assert session.statistics().failures == 0
    assert {event.operation for event in connect.events if isinstance(event, StoreFailed)} == {"unlock"}
