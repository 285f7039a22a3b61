"""Which account it is about: on every event and every line of the log, by a hash or by the label that was given."""

import asyncio
import dataclasses
import logging
from typing import Any

import pytest

from nexudus_async import (
    Event,
    MemoryStore,
    Pacing,
    PasswordCredentials,
    RefreshFailed,
    StoredToken,
    StoreError,
    StoreFailed,
    Throttled,
    TokenAdopted,
    TokenObtained,
    TokenRejected,
)
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until


class Fragile(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.down = False

    async def load(self, key: str) -> StoredToken | None:
        if self.down:
            raise StoreError("the store is switched off")
        return await super().load(key)


def has_the_field(record: logging.LogRecord) -> bool:
    """Tell whether the account that the line begins with is a field of the record, for logs of JSON."""
    field: object = record.__dict__.get("nexudus_account")
    return isinstance(field, str) and record.getMessage().startswith(f"{field}: ")


async def everything_happens(emulator: NexudusEmulator, connect: Connect, **options: Any) -> list[Event]:
    """Make every event there is happen to a session."""
    connect.clock.autojump = True
    store = Fragile()
    session = await connect(store=store, **options)
    neighbour = await connect(store=store, on_event=None)
    await session.token()
    emulator.revoke_access_tokens()
    await neighbour.refresh()
    async with session.get(CUSTOMER) as response:
        assert response.status == 200
    await neighbour.refresh()
    connect.clock.advance(3600)
    await session.token()
    emulator.fail(CUSTOMER, Fault.throttled(1))
    async with session.get(CUSTOMER) as response:
        assert response.status == 200
    store.down = True
    emulator.revoke_refresh_tokens()
    emulator.fail("token", Fault.answer(503), times=3)
    await asyncio.gather(session.refresh(), return_exceptions=True)
    await asyncio.sleep(0)
    return connect.events


KINDS = {TokenObtained, TokenAdopted, TokenRejected, RefreshFailed, StoreFailed, Throttled}


@pytest.mark.parametrize("label", ["Anna", "", None])
async def test_every_event_names_the_account(emulator: NexudusEmulator, connect: Connect, label: str | None) -> None:
    """As it was told to; else the same hash each time, which names nobody."""
    events = await everything_happens(emulator, connect, label=label)
    assert {type(event) for event in events} >= KINDS
    names = {event.account for event in events}
    assert len(names) == 1
    name = names.pop()
    if label is not None:
        assert name == label
    else:
        assert len(name) == 12
        assert "ops" not in name
        assert "@" not in name
    assert all(f"account={name!r}" in repr(event) for event in events)


async def test_every_line_of_the_log_begins_with_the_account(
    emulator: NexudusEmulator, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """So that two members' failures can be told apart."""
    with caplog.at_level(logging.DEBUG, logger="nexudus_async"):
        await everything_happens(emulator, connect, label="Anna")
    ours = [record for record in caplog.records if record.name == "nexudus_async"]
    assert len([record for record in ours if record.levelno >= logging.WARNING]) >= 2
    lines = [record.getMessage() for record in ours]
    other = {line for line in lines if not line.startswith("Anna: ")}
    assert len({line.partition(":")[0] for line in other}) <= 1, "the neighbour's"
    assert all(map(has_the_field, ours))
    assert not any("ops@example.com" in line for line in lines)


async def test_two_accounts_are_told_apart_without_a_label(emulator: NexudusEmulator, connect: Connect) -> None:
    """And one account of two sessions is the same."""
    emulator.add_user("anna@example.com", "secret")
    anna = PasswordCredentials("anna@example.com", "secret")
    for credentials in (None, anna, anna):
        session = await connect(credentials)
        await session.token()
    names = [event.account for event in connect.events]
    assert names[1] == names[2]
    assert len(set(names)) == 2


async def test_a_listener_in_trouble_is_named_too(
    emulator: NexudusEmulator, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """Whose it is."""

    def listen(event: Event) -> None:
        raise ValueError("in trouble")

    session = await connect(on_event=listen, label="Anna")
    await session.token()
    assert [record.getMessage() for record in caplog.records] == [
        "Anna: the listener raised ValueError on TokenObtained"
    ]
    assert all(map(has_the_field, caplog.records))


async def test_keep_alive_and_pacing_name_it_too(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A shared budget that cannot be read; a keep-alive that has met a failure."""
    pacing = Pacing(requests=("10/second",), redis_url="redis://127.0.0.1:1/0")
    session = await connect(pacing=pacing, keep_alive=True, label="Anna")
    with caplog.at_level(logging.DEBUG, logger="nexudus_async"):
        async with session.get(CUSTOMER) as response:
            assert response.status == 200
        await clock.wait_for_sleepers()
        emulator.fail("token", Fault.answer(503), times=None)
        clock.advance(3601)
        await until(lambda: "keep-alive" in caplog.text)
    ours = [record for record in caplog.records if record.name == "nexudus_async"]
    lines = [record.getMessage() for record in ours]
    assert [line for line in lines if "pacing" in line]
    assert all(map(has_the_field, ours))
    assert all(line.startswith("Anna: ") for line in lines)


def test_two_events_of_two_accounts_are_equal_but_for_that() -> None:
    """Tests compare events by what happened."""
    event = TokenRejected(generation=1, renewal=True)
    assert dataclasses.replace(event, account="Anna") == event
