"""Each operation of a store, and each way in which it may fail: the event, the words, and who is told that it works.

In virtual time (`tests/fleet/virtual.py`).
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from nexudus_async import LoginRequiredError, StoredToken, StoreError, StoreFailed, TokenManager, UnreadableRecordError
from nexudus_async.stores._record import Record, encode

from .virtual import Store, World, play

WORKS = "the token store works again"
WORDS = {
    "fails": ("the store is out of order", StoreError, type(None)),
    "breaks": ("the token store raised ConnectionError", StoreError, ConnectionError),
    "hangs": ("the token store did not answer within 5 s", StoreError, TimeoutError),
    "nobody can read it": ("no record at all", UnreadableRecordError, type(None)),
}
"""For each kind of trouble the text, the kind and the cause of the error."""
OPERATIONS = ["load", "save", "lock", "unlock", "server", "disconnect"]
TROUBLES = [
    (operation, trouble)
    for operation in OPERATIONS
    for trouble in ("fails", "breaks", "hangs")
    if (operation, trouble) != ("lock", "hangs")  # it is only tried: one that cannot be had at once is another's
]


class Broken(Store):
    """A store that can do all that one may be able to, but for one operation."""

    def __init__(self, operation: str, trouble: str) -> None:
        super().__init__()
        self.operation, self.trouble = operation, trouble

    async def _do(self, operation: str) -> None:
        if operation != self.operation:
            return
        match self.trouble:
            case "fails":
                raise StoreError("the store is out of order")
            case "breaks":
                raise ConnectionError("secret.example.org refuses")
            case "hangs":
                await asyncio.sleep(1e6)
            case _:
                raise UnreadableRecordError("no record at all")

    async def load(self, key: str) -> StoredToken | None:
        await self._do("load")
        return await super().load(key)

    async def save(self, key: str, record: StoredToken) -> None:
        await self._do("save")
        await super().save(key, record)

    @asynccontextmanager
    async def refresh_lock(self, key: str) -> AsyncGenerator[None]:
        await self._do("lock")
        async with super().refresh_lock(key):
            yield
        await self._do("unlock")

    async def server(self, key: str) -> str | None:
        await self._do("server")
        return f"the one of {key}"

    async def disconnect(self) -> None:
        await self._do("disconnect")


def failures(world: World) -> list[StoreFailed]:
    return [event for event in world.events if isinstance(event, StoreFailed)]


def lines(caplog: pytest.LogCaptureFixture, words: str = "token store") -> list[str]:
    """Return the warnings about the store."""
    messages = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    return [message for message in messages if words in message]


async def use(pod: TokenManager) -> None:
    await pod.token()
    await pod.refresh()
    await asyncio.sleep(30)  # what is unsaved is tried again


@pytest.mark.parametrize(("operation", "trouble"), TROUBLES)
def test_what_fails_is_told_by_its_name(operation: str, trouble: str, caplog: pytest.LogCaptureFixture) -> None:
    """In the event and in the log, with the cause attached, and nothing of its words shown. Nobody gets no token."""
    words, kind, cause = WORDS[trouble]

    async def scene(world: World) -> None:
        pod = world.pod(store=Broken(operation, trouble))
        await use(pod)
        await pod.close()

    told = failures(play(scene, lifetime=3600))
    assert {event.operation for event in told} == {operation}
    assert {(str(event.error), type(event.error), type(event.error.__cause__)) for event in told} == {
        (words, kind, cause)
    }
    assert lines(caplog)[0] == f"pod 0: token store: {operation} failed: {words}"
    assert "secret.example.org" not in caplog.text


@pytest.mark.parametrize("operation", ["load", "save", "lock"])
def test_what_works_again_is_told_once(operation: str, caplog: pytest.LogCaptureFixture) -> None:
    """As soon as it has worked, or what shows that it does."""

    async def scene(world: World) -> None:
        store = Broken(operation, "fails")
        pod = world.pod(store=store)
        await use(pod)
        assert not lines(caplog, WORKS)
        store.operation = ""
        await use(pod)
        await pod.refresh()

    play(scene, lifetime=3600)
    (line,) = lines(caplog, WORKS)
    assert line.startswith(f"pod 0: {WORKS}, after ")


def test_an_empty_store_works_again_when_it_has_been_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    """There was nothing to be read yet, and that could be."""

    async def scene(world: World) -> None:
        store = Broken("load", "fails")
        pod = world.pod(store=store)
        await pod.token()
        store.operation = ""
        await asyncio.sleep(30)
        assert store.records
        assert len(lines(caplog, WORKS)) == 1

    play(scene, lifetime=3600)


def test_another_kind_of_trouble_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """The same one is not: of that there is a line now and then."""

    async def scene(world: World) -> None:
        store = Broken("load", "fails")
        pod = world.pod(store=store)
        for trouble in ("fails", "fails", "nobody can read it"):
            store.trouble = trouble
            await pod.refresh()

    play(scene, lifetime=3600)
    words = [WORDS[trouble][0] for trouble in ("fails", "nobody can read it")]
    assert [line.rpartition("load failed: ")[2] for line in lines(caplog, "load failed")] == words


def test_what_nobody_can_read_is_why_somebody_has_to_sign_in() -> None:
    """Without credentials: the error says what is wrong with the store, not only that there is no token."""

    async def scene(world: World) -> None:
        pod = world.pod(None, store=Broken("load", "nobody can read it"))
        with pytest.raises(LoginRequiredError) as caught:
            await pod.token()
        causes, error = list[BaseException](), caught.value.__cause__
        while error is not None:
            causes.append(error)
            error = error.__cause__
        assert any(isinstance(cause, UnreadableRecordError) for cause in causes)

    play(scene, lifetime=3600)


def test_what_nobody_can_read_counts_as_none() -> None:
    """The first token is the first of all."""

    async def scene(world: World) -> None:
        token = await world.pod(store=Broken("load", "nobody can read it")).token()
        assert token.generation == 1

    play(scene, lifetime=3600)


def test_what_was_unreadable_once_is_no_cause_for_ever() -> None:
    """The record is gone by now."""

    async def scene(world: World) -> None:
        store = Broken("load", "nobody can read it")
        pod = world.pod(None, store=store)
        with pytest.raises(LoginRequiredError):
            await pod.token()
        store.operation = ""
        await asyncio.sleep(600)
        with pytest.raises(LoginRequiredError) as caught:
            await pod.token()
        assert caught.value.__cause__ is None or not isinstance(caught.value.__cause__.__cause__, UnreadableRecordError)

    play(scene, lifetime=3600)


@pytest.mark.parametrize("foreign", ["{}", "[]", "not JSON", '{"version": 1, "key": "of another account"}'])
def test_a_foreign_record_is_told_and_replaced_by_the_next_generation(
    foreign: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A store keeps the higher one."""

    async def scene(world: World) -> None:
        pod = world.pod()
        await pod.token()
        await asyncio.sleep(1)
        ((key, _),) = world.store.records.items()
        world.store.records[key] = StoredToken(7, foreign)
        another = world.pod()
        assert (await another.token()).generation == 8
        await asyncio.sleep(1)
        assert world.store.records[key].generation == 8
        told = failures(world)
        assert {event.operation for event in told} == {"load"}
        assert {str(event.error) for event in told} == {"the record is not one of this package's, or another account's"}
        await another.refresh()
        assert len(lines(caplog, WORKS)) == 1

    play(scene, lifetime=3600)


def test_a_record_of_a_later_release_is_one_trouble_as_long_as_it_lies_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """That a store can be reached does not mean that it works."""

    async def scene(world: World) -> None:
        pod = world.pod()
        await pod.token()
        await asyncio.sleep(1)
        ((key, stored),) = world.store.records.items()
        newer = encode(Record(stored.generation), key).payload.replace('"version": 1', '"version": 2')
        world.store.records[key] = StoredToken(stored.generation, newer)
        for _ in range(5):
            await pod.refresh()
        assert {event.operation for event in failures(world)} == {"load"}
        assert not lines(caplog, WORKS)
        world.store.records.clear()
        await pod.refresh()
        await asyncio.sleep(60)
        assert len(lines(caplog, WORKS)) == 1

    play(scene, lifetime=3600)
