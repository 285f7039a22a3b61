"""What is remembered of a refused password, and what it costs."""

import asyncio
import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from nexudus_async import CredentialsRejectedError, MemoryStore, PasswordCredentials
from nexudus_async._oauth.rejected_password import COST, SIZE, RejectedPassword
from nexudus_async._token import Secret
from nexudus_async.testing import NexudusEmulator
from tests.conftest import Connect

PASSWORD = Secret("correct-horse")


class Counted:
    """Stands in for `hashlib.scrypt`: counts, and sees how many run at once and on which threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = self.most_at_once = 0
        self.threads: set[str] = set()
        self._at_once, self._lock, self._scrypt = 0, threading.Lock(), hashlib.scrypt
        monkeypatch.setattr(hashlib, "scrypt", self)

    def __call__(self, *args: Any, **options: Any) -> bytes:
        with self._lock:
            self.calls += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self.threads.add(threading.current_thread().name)
        digest = self._scrypt(*args, **options)
        with self._lock:
            self._at_once -= 1
        return digest


@pytest.fixture
def scrypt(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


async def test_a_fingerprint_is_the_same_in_every_process() -> None:
    """For one account; another password, and another account, have others."""
    one = await RejectedPassword("key").fingerprint_of(PASSWORD)
    assert await RejectedPassword("key").fingerprint_of(PASSWORD) == one
    others = [await RejectedPassword("key").fingerprint_of(Secret(f"wrong {n}")) for n in range(5)]
    assert one not in others
    assert len({one, *others}) > 4
    assert await RejectedPassword("another key").fingerprint_of(PASSWORD) != one


async def test_a_fingerprint_proves_no_guess() -> None:
    """It lies in a store, and may be of a good password: 16 bits fit a thousand of a hundred million guesses."""
    fingerprint = await RejectedPassword("key").fingerprint_of(PASSWORD)
    assert len(bytes.fromhex(fingerprint)) == SIZE == 2


async def test_many_guesses_take_one_thread_at_a_time(scrypt: Counted) -> None:
    """None of the event loop's own threads, which resolve names and read files for everybody."""
    pool = ThreadPoolExecutor(thread_name_prefix="the loop's own")
    asyncio.get_running_loop().set_default_executor(pool)
    rejected = [RejectedPassword(f"key {n}") for n in range(12)]
    fingerprints = await asyncio.gather(*(each.fingerprint_of(PASSWORD) for each in rejected))
    assert len(set(fingerprints)) > 10
    assert (scrypt.calls, scrypt.most_at_once) == (12, 1)
    assert not [name for name in scrypt.threads if name.startswith("the loop's own")]
    pool.shutdown()


async def test_the_same_password_is_hashed_once(scrypt: Counted) -> None:
    """As when a fleet asks again and again whether it has changed."""
    rejected = RejectedPassword("key")
    for _ in range(3):
        await rejected.fingerprint_of(PASSWORD)
    rejected.remember(PASSWORD)
    await rejected.fingerprint()
    assert scrypt.calls == 1
    await rejected.fingerprint_of(Secret("another"))
    assert scrypt.calls == 2


@pytest.mark.parametrize(("store", "hashes"), [(None, 0), (MemoryStore(), 1)])
async def test_only_a_fleet_needs_a_slow_hash(
    emulator: NexudusEmulator, connect: Connect, scrypt: Counted, store: MemoryStore | None, hashes: int
) -> None:
    """One process knows by a fast one whether a password was refused."""
    session = await connect(PasswordCredentials(emulator.username, "wrong"), store=store)
    with pytest.raises(CredentialsRejectedError):
        await session.token()
    assert scrypt.calls == hashes


def test_a_hash_is_cheap_enough_for_ten_guesses_a_second() -> None:
    """A third of a core at the most."""
    started = time.process_time()
    for n in range(5):
        hashlib.scrypt(b"x", salt=str(n).encode(), n=COST, r=8, p=1, dklen=SIZE)
    assert (time.process_time() - started) / 5 < 0.033
