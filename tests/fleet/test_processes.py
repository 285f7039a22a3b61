"""Real processes that share an account through a real file or a real Valkey, in real time.

Tokens live for two seconds and are refreshed in the second half: the fleet's hours, in seconds. How long the longest
test runs is in `NEXUDUS_TEST_SECONDS`.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from redis import Redis

from nexudus_async.testing import Fault, Hold, NexudusEmulator
from tests.conftest import until
from tests.valkey import Valkey

from .processes import Fleet, check, gaps, running, sender_of

pytestmark = pytest.mark.fleet

SECONDS = float(os.environ.get("NEXUDUS_TEST_SECONDS", "3"))
LIFETIME = 2.0
INTERVAL = 1.0
"""Seconds from a token to its refresh at the earliest: the lifetime less the window of the workers' policy."""
EARLY = 0.05
"""Seconds by which a request that took longer on its way than the next one makes an interval look shorter."""
LEASE = 1.0
SHARED_AGAIN = 15.0
"""Seconds for a fleet to share a chain again: until the last process has saved its own, and some of one's intervals."""
LOOK = 3.0
"""Seconds between two looks of a waiting process at the most."""


@pytest.fixture
async def emulator() -> AsyncIterator[NexudusEmulator]:
    """Not on the manual clock of the other tests: these processes have clocks of their own."""
    async with NexudusEmulator(lifetime=LIFETIME) as emulator:
        yield emulator


Scene = Callable[[NexudusEmulator, str], Coroutine[None, None, None]]
OnBoth = Callable[[Scene], Coroutine[None, None, None]]


@pytest.fixture
def on_both(valkey: Valkey, tmp_path: Path) -> OnBoth:
    """What plays a scene with a file and with Valkey, each with a service of its own, at the same time."""

    async def play(scene: Scene, store: str) -> None:
        async with NexudusEmulator(lifetime=LIFETIME) as emulator:
            await scene(emulator, store)

    async def on_both(scene: Scene) -> None:
        async with asyncio.TaskGroup() as group:
            for store in (str(tmp_path / "tokens.json"), valkey.url):
                group.create_task(play(scene, store), name=store)

    return on_both


async def test_a_fleet_makes_one_token_request_in_each_interval(on_both: OnBoth) -> None:
    """Eight processes: one sign-in, then one refresh a second at the most; none overlaps, none uses a token twice."""
    await on_both(_one_request_in_each_interval)


async def _one_request_in_each_interval(emulator: NexudusEmulator, store: str) -> None:
    async with running(emulator, store, 8) as fleet:
        await asyncio.sleep(SECONDS)
        reports = await fleet.stop()
    check(reports, 8)
    assert emulator.sign_ins == 1
    assert len(emulator.token_requests) == 1 + emulator.renewals
    assert min(gaps(emulator.token_requests)) >= INTERVAL - EARLY
    assert emulator.renewals >= SECONDS / LIFETIME  # else the test has seen nothing
    assert emulator.max_concurrent_token_requests == 1
    assert emulator.refresh_tokens_reused == 0
    assert all(report.statistics["adoptions"] > 0 for report in reports)
    print(f"\n{_summary(emulator)}; slowest request {max(report.slowest for report in reports):.3f} s")


async def test_a_fleet_outlives_processes_killed_in_the_middle_of_a_refresh(on_both: OnBoth) -> None:
    """Before the service has seen the request, and after it; nobody can tell, and so each costs one sign-in."""
    await on_both(_killed_in_the_middle)


async def _killed_in_the_middle(emulator: NexudusEmulator, store: str) -> None:
    async with running(emulator, store, 8, lease=LEASE) as fleet:
        for fault, sign_ins in ((Fault.dropped(), 2), (Fault(), 3)):
            recovery = await _kill_the_refreshing_process(emulator, fleet, fault)
            print(f"\nanother token {recovery:.2f} s after the kill")
            assert recovery < LEASE + LOOK
            await asyncio.sleep(1.5 * INTERVAL)
            assert emulator.sign_ins == sign_ins
        reports = await fleet.stop()
    check(reports, 6)
    assert emulator.refresh_tokens_reused == 0
    granted = [record for record in emulator.token_requests if record.status == 200]
    assert min(gaps([record for record in granted if sender_of(record) not in fleet.killed])) >= INTERVAL - EARLY


async def test_a_restarted_fleet_does_not_sign_in_even_after_a_change_of_password(on_both: OnBoth) -> None:
    """It goes on with the chain it left, though the access token has expired and the password is another."""
    await on_both(_restarted)


async def _restarted(emulator: NexudusEmulator, store: str) -> None:
    async with running(emulator, store, 2) as fleet:
        check(await fleet.stop(), 2)
        emulator.user.password = "changed meanwhile"
        await asyncio.sleep(LIFETIME)
        await fleet.start(2)
        await until(lambda: emulator.renewals >= 2)
        check(await fleet.stop(), 2)
    assert emulator.sign_ins == 1
    assert len(emulator.token_requests) == 1 + emulator.renewals


async def test_an_outage_of_valkey_longer_than_tokens_live_costs_no_request(
    emulator: NexudusEmulator, valkey: Valkey
) -> None:
    """Meanwhile each process has a chain of its own; afterwards they share one again."""
    async with running(emulator, valkey.url, 8) as fleet:
        await asyncio.sleep(INTERVAL)
        valkey.stop()
        try:
            await asyncio.sleep(1.5 * LIFETIME)
        finally:
            await asyncio.to_thread(valkey.start)
        assert emulator.sign_ins > 1
        async with asyncio.timeout(SHARED_AGAIN):
            while not _share_one_chain(emulator):  # noqa: ASYNC110 - processes have no event
                await asyncio.sleep(0.01)
        emulator.reset_record()
        await asyncio.sleep(2.5 * INTERVAL)
        reports = await fleet.stop()
    check(reports, 8)
    assert all(report.store_failures for report in reports)
    assert (emulator.sign_ins, emulator.refresh_tokens_reused) == (0, 0)
    assert len({record.headers["client_id"] for record in emulator.token_requests}) == 1
    assert min(gaps(emulator.token_requests)) >= INTERVAL - EARLY
    print(f"\nslowest request {max(report.slowest for report in reports):.3f} s")


async def test_nothing_is_readable_at_rest_under_encryption(on_both: OnBoth) -> None:
    """No token, password or e-mail: not in a file, its name, a key or a value."""
    await on_both(_nothing_readable)


async def _nothing_readable(emulator: NexudusEmulator, store: str) -> None:
    async with running(emulator, store, 2, key=Fernet.generate_key().decode()) as fleet:
        await until(lambda: emulator.renewals >= 1)
        check(await fleet.stop(), 2)
    found = await asyncio.to_thread(_at_rest, store)
    assert '"generation"' in found
    assert [secret for secret in {*emulator.secrets, emulator.username} if secret in found] == []


def _share_one_chain(emulator: NexudusEmulator) -> bool:
    """Tell whether the last requests are those of one fleet: one chain, and none before its time."""
    last = emulator.token_requests[-3:]
    return len({record.headers["client_id"] for record in last}) == 1 and min(gaps(last)) >= INTERVAL - EARLY


async def _kill_the_refreshing_process(emulator: NexudusEmulator, fleet: Fleet, fault: Fault) -> float:
    """Return the seconds from the kill to the next token."""
    hold: Hold
    with emulator.hold("token", times=1, fault=fault) as hold:
        await hold.wait()
        caught = next(record for record in emulator.token_requests if record.finished is None)
        killed = time.monotonic()
        await fleet.kill(sender_of(caught))
    before = len(emulator.token_requests)
    await until(lambda: any(record.status == 200 for record in emulator.token_requests[before:]))
    return time.monotonic() - killed


def _at_rest(store: str) -> str:
    if store.startswith("redis://"):
        with Redis(port=int(store.rpartition(":")[2]), decode_responses=True) as client:
            keys = [str(key) for key in client.keys("*")]  # pyright: ignore[reportUnknownMemberType]
            return "\n".join([*keys, *[str(client.get(key)) for key in keys]])
    files = [path for path in Path(store).parent.rglob("*") if path.is_file()]
    return "\n".join([*map(str, files), *[path.read_text() for path in files]])


def _summary(emulator: NexudusEmulator) -> str:
    spans = gaps(emulator.token_requests)
    return (
        f"{len(emulator.token_requests)} token requests in {sum(spans):.1f} s, "
        f"{min(spans):.2f} to {max(spans):.2f} s apart"
    )
