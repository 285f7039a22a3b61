"""What every token store keeps to, whatever it is made of."""

import asyncio
from contextlib import AsyncExitStack

import anyio
import pytest

from nexudus_async.errors import StoreError
from nexudus_async.stores import StoredToken, TokenStore

from .conftest import Backend

ODD_TEXTS = [
    "",
    " ",
    "\x00",
    '{"a": "b"}',
    "line\r\nline\u2028",
    "Zoë 🦊 \u202e",
    "\ud800",
    "\\u0041'\"]]>",
    "x" * 1_000_000,
]
ODD_KEYS = ["", "a", "A", "../a", "a/b", "{a}", "a}{b", "a:record", "*", "Zoë", "a" * 300]
PATIENCE = 20
"""Seconds until a test that waits for a lock is called a failure."""


@pytest.fixture
def store(backend: Backend) -> TokenStore:
    return backend.open()


@pytest.fixture
def other(backend: Backend) -> TokenStore:
    """What another process would have."""
    return backend.open()


async def try_lock(store: TokenStore, key: str) -> bool:
    """Take the lock if it is free now, and give it back."""
    async with AsyncExitStack() as stack:
        with anyio.move_on_after(0):
            await stack.enter_async_context(store.refresh_lock(key))
            return True
    return False


async def hold(store: TokenStore, key: str, entered: asyncio.Event) -> None:
    async with store.refresh_lock(key):
        entered.set()
        await asyncio.Event().wait()


async def test_nothing_is_loaded_where_nothing_was_saved(store: TokenStore) -> None:
    """No record is None, not an error, and looking for one makes none."""
    assert await store.load("a") is None
    assert await store.load("a") is None


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
async def test_a_record_comes_back_as_it_was_saved(store: TokenStore, other: TokenStore, text: str) -> None:
    """Any text that a str can hold is a payload, and another process reads the same."""
    await store.save("a", StoredToken(7, text))
    assert await other.load("a") == StoredToken(7, text)


async def test_a_cleared_record_is_gone(store: TokenStore, other: TokenStore) -> None:
    """After `clear` there is no record, and any generation may be saved."""
    await store.save("a", StoredToken(7, "seven"))
    await other.clear("a")
    assert await store.load("a") is None
    await store.save("a", StoredToken(1, "one"))
    assert await other.load("a") == StoredToken(1, "one")


async def test_clearing_nothing_is_not_an_error(store: TokenStore) -> None:
    """`clear` states what must hold afterwards."""
    await store.clear("a")
    assert await store.load("a") is None


async def test_keys_are_independent(store: TokenStore) -> None:
    """A key is any text, and names one record, whatever characters it holds."""
    for number, key in enumerate(ODD_KEYS):
        await store.save(key, StoredToken(number, key))
    assert [await store.load(key) for key in ODD_KEYS] == [StoredToken(n, key) for n, key in enumerate(ODD_KEYS)]
    await store.clear("a")
    assert await store.load("a") is None
    assert await store.load("A") == StoredToken(2, "A")


@pytest.mark.parametrize(("saved", "kept"), [(8, 8), (9, 9), (10, 10), (7, 8), (-1, 8), (0, 8)])
async def test_an_older_record_does_not_replace_a_newer_one(store: TokenStore, saved: int, kept: int) -> None:
    """The higher generation stays, silently; the last of two equal ones stays."""
    await store.save("a", StoredToken(8, "first"))
    await store.save("a", StoredToken(saved, "second"))
    assert await store.load("a") == StoredToken(kept, "second" if saved >= 8 else "first")


async def test_the_highest_of_many_generations_saved_at_once_wins(store: TokenStore, other: TokenStore) -> None:
    """No interleaving of 200 saves loses a record or lets an older one win."""

    async def save(number: int) -> None:
        await (store, other)[number % 2].save(f"key {number % 5}", StoredToken(number, str(number)))

    await asyncio.gather(*(save((number * 37) % 200) for number in range(200)))
    loaded = [await store.load(f"key {key}") for key in range(5)]
    assert loaded == [StoredToken(195 + key, str(195 + key)) for key in range(5)]


async def test_one_task_at_a_time_holds_the_lock(store: TokenStore, other: TokenStore) -> None:
    """The lock excludes tasks and store objects, and all who wait get it in the end."""
    inside, most, done = 0, 0, 0

    async def work(mine: TokenStore) -> None:
        nonlocal inside, most, done
        async with mine.refresh_lock("a"):
            inside += 1
            most = max(most, inside)
            await mine.load("a")  # gives everyone else a turn
            inside -= 1
            done += 1

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(work(mine) for mine in (store, other) * 5))
    assert (most, done) == (1, 10)


async def test_locks_of_different_keys_are_independent(store: TokenStore) -> None:
    """Holding one key's lock holds no other's up."""
    async with store.refresh_lock("a"), store.refresh_lock("b"), store.refresh_lock("c"):
        assert await try_lock(store, "d")


async def test_a_held_lock_holds_up_no_load_and_no_save(store: TokenStore, other: TokenStore) -> None:
    """Who waits for a refresh can still read what was refreshed."""
    async with store.refresh_lock("a"), asyncio.timeout(PATIENCE):
        await other.save("a", StoredToken(1, "one"))
        assert await other.load("a") == StoredToken(1, "one")
        await other.clear("a")


async def test_a_deadline_of_zero_only_tries_the_lock(store: TokenStore, other: TokenStore) -> None:
    """Under `move_on_after(0)` a free lock is taken and a held one is not waited for."""
    assert await try_lock(store, "a")
    async with store.refresh_lock("a"):
        assert not await try_lock(store, "a")
        assert not await try_lock(other, "a")
    assert await try_lock(other, "a")


async def test_an_error_inside_frees_the_lock(store: TokenStore, other: TokenStore) -> None:
    """The body's error comes out as it is, and the lock is free."""
    with pytest.raises(ZeroDivisionError):
        async with store.refresh_lock("a"):
            raise ZeroDivisionError
    assert await try_lock(other, "a")


async def test_cancelling_the_holder_frees_the_lock(store: TokenStore, other: TokenStore) -> None:
    """A cancelled body leaves the lock free by the time its task has ended."""
    entered = asyncio.Event()
    holder = asyncio.create_task(hold(store, "a", entered))
    await entered.wait()
    holder.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holder
    assert await try_lock(other, "a")


@pytest.mark.parametrize("turns", [*range(12), 20, 50, 100])
async def test_cancelling_an_entry_at_any_moment_leaves_the_lock_free(
    store: TokenStore, other: TokenStore, turns: int
) -> None:
    """A lock that is won just when the waiter is cancelled is given back: by a thread, or by a server far away."""
    entry = asyncio.create_task(hold(store, "a", asyncio.Event()))
    for _ in range(turns):
        await asyncio.sleep(0)
    entry.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entry
    assert await try_lock(other, "a")


async def test_cancelled_waiters_leave_the_lock_to_the_others(store: TokenStore, other: TokenStore) -> None:
    """Of those who wait, some give up by a task's cancellation, a timeout or a scope; the rest take their turn."""
    entered = asyncio.Event()
    holder = asyncio.create_task(hold(store, "a", entered))
    await entered.wait()
    given_up = asyncio.create_task(hold(other, "a", asyncio.Event()))
    patient = asyncio.create_task(try_long(other))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await hold(store, "a", asyncio.Event())
    with anyio.move_on_after(0.05) as scope:
        await hold(store, "a", asyncio.Event())
    given_up.cancel()
    await asyncio.wait([given_up])
    assert scope.cancelled_caught
    assert given_up.cancelled()
    assert not patient.done()
    holder.cancel()
    assert await patient
    assert await try_lock(store, "a")


async def try_long(store: TokenStore) -> bool:
    async with asyncio.timeout(PATIENCE), store.refresh_lock("a"):
        return True


async def test_content_that_no_store_wrote_is_an_error_and_the_next_save_decides(
    backend: Backend, store: TokenStore
) -> None:
    """It is never taken for a record, whatever generation it claims. A save replaces it, or says that it does not."""
    await backend.spoil("a")
    with pytest.raises(StoreError):
        await store.load("a")
    if backend.replaces:
        await store.save("a", StoredToken(1, "one"))
        assert await store.load("a") == StoredToken(1, "one")
    else:
        with pytest.raises(StoreError, match="never replaced"):
            await store.save("a", StoredToken(1_000_001, "one"))


async def test_content_that_no_store_wrote_can_be_cleared(backend: Backend, store: TokenStore) -> None:
    """`clear` needs to understand nothing, and leaves room for any record."""
    await backend.spoil("a")
    await store.clear("a")
    assert await store.load("a") is None
    await store.save("a", StoredToken(1, "one"))
    assert await store.load("a") == StoredToken(1, "one")


async def test_a_repr_shows_no_payload(store: TokenStore) -> None:
    """The repr is a status line."""
    await store.save("a", StoredToken(1, "hunter2"))
    assert "hunter2" not in repr(store)
    assert "Store" in repr(store)
