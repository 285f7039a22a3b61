"""What encryption adds to the contract: nothing readable at rest, and nothing believed that was not sealed here."""

import pickle
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from cryptography.fernet import Fernet

from nexudus_async.errors import ConfigurationError, StoreError
from nexudus_async.stores import EncryptedStore, FileStore, MemoryStore, StoredToken

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key()
RECORD = StoredToken(7, "refresh-token-hunter2")


@pytest.fixture
def inner() -> MemoryStore:
    return MemoryStore()


async def test_nothing_is_readable_at_rest(tmp_path: Path) -> None:
    """No file beside the store's shows the payload."""
    store = EncryptedStore(FileStore(tmp_path / "tokens.json"), NEW)
    async with store.refresh_lock("a"):
        await store.save("a", RECORD)
    assert await store.load("a") == RECORD
    contents = [await file.read_bytes() async for file in anyio.Path(tmp_path).iterdir()]
    assert len(contents) >= 2
    assert not any(b"hunter2" in content for content in contents)


async def test_keys_rotate(inner: MemoryStore) -> None:
    """The first key encrypts, all decrypt: a record of the old key is read, and the next save is by the new one."""
    await EncryptedStore(inner, OLD).save("a", RECORD)
    both = EncryptedStore(inner, NEW, OLD)
    assert await both.load("a") == RECORD
    await both.save("a", RECORD)
    assert await EncryptedStore(inner, NEW).load("a") == RECORD
    await EncryptedStore(inner, OLD, NEW).save("a", RECORD)  # a process of the round before
    assert await both.load("a") == RECORD


async def test_a_store_that_cannot_be_read_just_now_replaces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there may be another's, whose key this process does not have: the save says that the store is down."""
    inner = MemoryStore()
    await EncryptedStore(inner, OLD).save("a", RECORD)
    with monkeypatch.context() as patch:
        patch.setattr(inner, "load", _down)
        with pytest.raises(StoreError, match="down"):
            await EncryptedStore(inner, NEW).save("a", StoredToken(9, "fresh"))
    assert await EncryptedStore(inner, OLD).load("a") == RECORD


async def _down(key: str) -> StoredToken | None:
    raise StoreError("down")


@pytest.mark.parametrize("generation", [1, 7, 8])
async def test_a_wrong_key_replaces_nothing(inner: MemoryStore, generation: int) -> None:
    """A process with the wrong keys is told so by `save`, and takes nobody's tokens; `clear` is the way out."""
    right, wrong = EncryptedStore(inner, OLD), EncryptedStore(inner, NEW)
    await right.save("a", RECORD)
    with pytest.raises(StoreError, match="the same keys"):
        await wrong.load("a")
    with pytest.raises(StoreError, match="the same keys"):
        await wrong.save("a", StoredToken(generation, "fresh"))
    assert await right.load("a") == RECORD
    await wrong.clear("a")
    await wrong.save("a", StoredToken(generation, "fresh"))
    assert await wrong.load("a") == StoredToken(generation, "fresh")


async def test_a_store_inside_that_cannot_read_replaces(tmp_path: Path) -> None:
    """What is not a record at all holds nobody's tokens."""
    path = anyio.Path(tmp_path / "tokens.json")
    await path.write_text("nonsense")
    store = EncryptedStore(FileStore(tmp_path / "tokens.json"), NEW)
    await store.save("a", RECORD)
    assert await store.load("a") == RECORD


@pytest.mark.parametrize("inner", [None, "redis://localhost", EncryptedStore])
def test_what_is_no_store_is_a_configuration_error(inner: Any) -> None:
    """At once, with what to pass."""
    with pytest.raises(ConfigurationError, match="inner must be a token store"):
        EncryptedStore(inner, NEW)


async def test_plain_text_is_never_accepted(inner: MemoryStore) -> None:
    """A record from before the encryption, or planted, is an error."""
    await inner.save("a", RECORD)
    with pytest.raises(StoreError, match="cannot be decrypted"):
        await EncryptedStore(inner, NEW).load("a")


async def test_a_record_moved_to_another_key_is_refused(inner: MemoryStore) -> None:
    """One account's tokens cannot be passed off as another's by who can write but not decrypt."""
    store = EncryptedStore(inner, NEW)
    await store.save("a", RECORD)
    sealed = await inner.load("a")
    assert sealed is not None
    await inner.save("b", sealed)
    with pytest.raises(StoreError, match="cannot be decrypted"):
        await store.load("b")


@pytest.mark.parametrize("generation", [8, 6, 1_000_000])
async def test_a_forged_generation_is_refused(inner: MemoryStore, generation: int) -> None:
    """The generation outside must be the one inside, or an old record could be made the newest."""
    store = EncryptedStore(inner, NEW)
    await store.save("a", RECORD)
    sealed = await inner.load("a")
    assert sealed is not None
    await inner.clear("a")
    await inner.save("a", replace(sealed, generation=generation))
    with pytest.raises(StoreError, match="cannot be decrypted"):
        await store.load("a")


@pytest.mark.parametrize("content", [b"", b"[]", b'["a", 7]', b'["a", 7, "x", 1]', b'["a", "7", "x"]', b'{"a": 7}'])
async def test_sealed_content_of_another_form_is_refused(inner: MemoryStore, content: bytes) -> None:
    """A good key proves who wrote it, not what."""
    await inner.save("a", StoredToken(7, Fernet(NEW).encrypt(content).decode()))
    with pytest.raises(StoreError, match="cannot be decrypted"):
        await EncryptedStore(inner, NEW).load("a")


@pytest.mark.parametrize(
    "keys",
    [(), ("hunter2",), (b"hunter2",), ("hunter2ü",), (NEW, "hunter2"), (NEW[:-4] + b"hun2",), (None,)],
    ids=["none", "text", "bytes", "letters", "one of two", "nearly one", "no text"],
)
def test_a_bad_key_is_a_configuration_error_that_does_not_show_it(keys: tuple[str | bytes, ...]) -> None:
    """It is found when the store is made, and the message says how to make a good one."""
    with pytest.raises(ConfigurationError, match=r"Fernet\.generate_key") as caught:
        EncryptedStore(MemoryStore(), *keys)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


def test_a_store_shows_no_key_and_cannot_be_pickled(inner: MemoryStore) -> None:
    """The repr counts the keys and names the store inside."""
    store = EncryptedStore(inner, OLD, NEW)
    assert repr(store) == "<EncryptedStore, keys: 2, in <MemoryStore, records: 0>>"
    with pytest.raises(TypeError, match="holds its keys"):
        pickle.dumps(store)
