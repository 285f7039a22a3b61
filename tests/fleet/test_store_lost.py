"""The store loses what it has, in the middle of a refresh; or is away when the hard margin is met.

In virtual time (`tests/fleet/virtual.py`).
"""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime

import pytest

from nexudus_async import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    RefreshPolicy,
    StoredToken,
    StoreFailed,
    Token,
    TokenEndpointError,
    TokenManager,
)
from nexudus_async._manager import coordinator_of
from nexudus_async.stores._record import decode

from .virtual import Store, World, call, play, spawn

NO_JITTER = RefreshPolicy(jitter=0)
HARD = 3540.0
"""Seconds after which callers wait for the successor of a token of an hour."""


@pytest.mark.parametrize("moment", [2800.0, 3601.0], ids=["the token is good", "the token has ended"])
@pytest.mark.parametrize("after", [0.01, 0.05, 0.5, 2.0])
def test_a_refresh_token_is_not_sent_twice_because_the_record_has_vanished(moment: float, after: float) -> None:
    """FLUSHALL while one process refreshes: the lock is gone, and the note. The others do not know, and do not send."""

    async def scene(world: World) -> None:
        pods = [world.pod(policy=NO_JITTER) for _ in range(5)]
        for pod in pods:
            await pod.token()
        world.endpoint.latency = 1.5
        await world.until(moment)
        refreshing = asyncio.create_task(pods[0].refresh())
        await asyncio.sleep(after)
        world.store.flush()
        tokens = await asyncio.gather(*(pod.token() for pod in pods[1:]))
        assert all(map(world.endpoint.accepts, tokens))
        await refreshing
        await asyncio.gather(*spawn(*(call(world, pod, world.now() + 60, every=1) for pod in pods)))
        assert len({(await pod.token()).client_id for pod in pods}) == 1

    world = play(scene, lifetime=3600)
    sent = Counter(each.refresh_token for each in world.endpoint.log if each.refresh_token)
    assert set(sent.values()) == {1}
    assert world.endpoint.reused == 0
    if moment < 3600:
        assert world.endpoint.count("password") == 1, "those who could wait found the new token"


def test_a_vanished_record_is_put_back_and_the_chain_goes_on() -> None:
    """Nobody was refreshing: it costs one sign-in at the most, for the whole fleet, and no request."""

    async def scene(world: World) -> None:
        pods = [world.pod(policy=NO_JITTER) for _ in range(5)]
        for pod in pods:
            await pod.token()
        await world.until(100)
        world.store.flush()
        callers = await asyncio.gather(*spawn(*(call(world, pod, 3 * 3600, every=10) for pod in pods)))
        assert not any(caller.failed for caller in callers)
        assert world.store.records
        assert len({(await pod.token()).access_token for pod in pods}) == 1

    world = play(scene, lifetime=3600)
    assert world.endpoint.count("password") <= 2
    assert world.endpoint.count("refresh_token") >= 2
    assert world.endpoint.reused == 0


@pytest.mark.parametrize("payload", ["", "[" * 100_000, '{"version": 0}'], ids=["empty", "deep", "of an old format"])
def test_a_refresh_token_is_not_sent_by_two_because_nobody_can_read_the_record(payload: str) -> None:
    """The note of another process is gone with the record, and one's own is put there before anything is sent."""

    async def scene(world: World) -> None:
        pods = [world.pod(policy=NO_JITTER) for _ in range(2)]
        for pod in pods:
            await pod.token()
        for key, record in world.store.records.items():
            world.store.records[key] = StoredToken(record.generation, payload)
        world.endpoint.fault = lambda _grant: 502
        world.endpoint.used_by_faults = True
        for pod in pods:
            with pytest.raises(EndpointUnavailableError):
                await pod.refresh()

    assert play(scene, lifetime=3600).endpoint.count("refresh_token") == 0


def test_evictions_every_now_and_then_reuse_nothing_and_fail_nobody() -> None:
    """A Valkey with `allkeys-lru` that is full: a day, an eviction every eleven minutes, tokens of twenty."""

    async def scene(world: World) -> None:
        pods = [world.pod() for _ in range(4)]
        callers = spawn(*(call(world, pod, 86400, every=31) for pod in pods))
        while world.now() < 86400:
            await asyncio.sleep(660)
            world.store.flush()
        done = await asyncio.gather(*callers)
        assert not any(caller.failed for caller in done)

    world = play(scene, lifetime=1200)
    assert world.endpoint.reused == 0
    assert len(world.endpoint.log) <= 2 * 86400 / 900


def test_without_credentials_a_vanished_record_is_no_end() -> None:
    """Nobody can sign in: a refresh token that may be good is better than none."""

    async def scene(world: World) -> None:
        elsewhere = world.pod()
        await elsewhere.token()
        await asyncio.sleep(1)
        worker = world.pod(None)
        await worker.token()
        await elsewhere.close()
        world.store.flush()
        await world.until(3601)
        assert world.endpoint.accepts(await worker.token())

    play(scene, lifetime=3600)


def sign_ins(world: World) -> list[float]:
    return [sent.at for sent in world.endpoint.log if sent.grant == "password"][1:]


def test_a_store_that_is_down_at_the_hard_margin_costs_an_account_its_sign_ins_one_by_one() -> None:
    """Twenty processes meet the margin in the same second: they are spread over it, and no request waits or fails."""

    async def scene(world: World) -> None:
        pods = [world.pod() for _ in range(20)]
        for pod in pods:
            await pod.token()
        world.store.down = True
        await world.until(3000)
        callers = await asyncio.gather(*spawn(*(call(world, pod, 3700, every=0.5) for pod in pods)))
        assert not any(caller.failed for caller in callers)
        assert max(caller.slowest for caller in callers) < 1

    world = play(scene, lifetime=3600)
    moments = sign_ins(world)
    assert len(moments) == 20
    assert min(moments) >= 3540, "not before the margin: the store may come back"
    assert max(Counter(int(moment / 10) for moment in moments).values()) <= 8
    assert max(moments) - min(moments) >= 40


def test_a_store_that_comes_back_in_the_margin_saves_the_rest_their_sign_ins() -> None:
    """Who has not signed in yet adopts what the first one saves."""

    async def scene(world: World) -> None:
        pods = [world.pod() for _ in range(20)]
        for pod in pods:
            await pod.token()
        world.store.down = True
        await world.until(3000)
        callers = spawn(*(call(world, pod, 3700, every=0.5) for pod in pods))
        await world.until(3560)
        world.store.down = False
        assert not any(caller.failed for caller in await asyncio.gather(*callers))

    world = play(scene, lifetime=3600)
    assert len(sign_ins(world)) <= 12
    assert world.endpoint.reused == 0


async def down(world: World, *, password: str | None = "right") -> TokenManager:
    """Return a pod that has a token of its own, because the store is down."""
    pod = world.pod()
    await pod.token()
    await asyncio.sleep(1)
    if password is None:
        pod = world.pod(None)
        await pod.token()
    world.store.down = True
    return pod


def test_a_sign_in_by_hand_signs_in_though_the_store_is_down() -> None:
    """And does not refresh the chain of its own: any password would do then."""

    async def scene(world: World) -> None:
        pod = await down(world)
        await pod.refresh()
        await pod.sign_in()
        await pod.sign_in()
        assert [sent.grant for sent in world.endpoint.log] == ["password"] * 4

    play(scene, lifetime=3600)


def test_a_refused_refresh_of_its_own_chain_leads_to_a_sign_in_in_the_same_flight() -> None:
    """As ever. It is not sent again and again for as long as the store is down."""

    async def scene(world: World) -> None:
        pod = await down(world)
        await pod.refresh()
        world.endpoint.revoke()
        assert world.endpoint.accepts(await pod.refresh())
        assert [sent.grant for sent in world.endpoint.log] == ["password", "password", "refresh_token", "password"]
        assert pod.statistics().failures == 1

    play(scene, lifetime=3600)


def test_a_refused_refresh_without_credentials_is_not_sent_again_while_the_store_is_down() -> None:
    """Another process may hold the newer token; the refused one is no good, whoever asks how often."""

    async def scene(world: World) -> None:
        worker = await down(world, password=None)
        world.endpoint.revoke()
        await world.until(3601)
        with pytest.raises(EndpointUnavailableError, match="while the store is down"):
            await worker.token()
        caller = await call(world, worker, world.now() + 120)
        assert caller.failed
        assert world.endpoint.count("refresh_token") == 1
        assert [event for event in world.events if isinstance(event, StoreFailed)]

    play(scene, lifetime=3600)


def test_up_to_the_hard_margin_a_lost_record_costs_no_sign_in() -> None:
    """To its last half second: another process may still save the successor. Then one is made, and no refresh."""

    async def scene(world: World) -> None:
        pod = world.pod(policy=NO_JITTER)
        await pod.token()
        await world.until(HARD - 0.5)
        world.store.flush()
        await pod.token()
        await asyncio.sleep(0.4)
        assert len(world.endpoint.log) == 1
        await call(world, pod, HARD + 2)
        assert [sent.grant for sent in world.endpoint.log] == ["password", "password"]

    play(scene, lifetime=3600)


def test_up_to_its_own_moment_a_process_without_the_store_sends_nothing() -> None:
    """To its last half second: the store may come back."""

    async def scene(world: World) -> None:
        pod = world.pod()
        await pod.token()
        world.store.down = True
        state = coordinator_of(pod).state
        await world.until(HARD)
        await world.until(world.now() + state.without_store_in - 0.5)
        await pod.token()
        await asyncio.sleep(0.4)
        assert len(world.endpoint.log) == 1
        await call(world, pod, world.now() + 2)
        assert [sent.grant for sent in world.endpoint.log] == ["password", "password"]

    play(scene, lifetime=3600)


def test_a_refused_refresh_of_its_own_chain_is_the_cause_of_what_follows_and_is_not_left_to_others() -> None:
    """The sign-in after it is refused, too. The store comes back: the chain is saved without its refresh token."""

    async def scene(world: World) -> None:
        pod = await down(world)
        own = await pod.refresh()
        world.endpoint.revoke(access=False)
        world.endpoint.password = "another"
        with pytest.raises(CredentialsRejectedError) as caught:
            await pod.refresh()
        cause = caught.value.__cause__
        while cause is not None and "client_id header" not in str(cause):
            cause = cause.__cause__
        assert isinstance(cause, TokenEndpointError)
        world.store.down = False
        await asyncio.sleep(60)
        ((key, stored),) = world.store.records.items()
        left = decode(stored, key).token
        assert left is not None
        assert (left.access_token, left.refresh_token) == (own.access_token, None)

    play(scene, lifetime=3600)


class OfOnesOwn:
    """A source whose tokens have no `client_id`: nobody can tell whose chain one belongs to."""

    key = "an account"

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def login(self) -> Token:
        return self._token("login")

    async def refresh(self, token: Token) -> Token:
        return self._token("refresh")

    def _token(self, how: str) -> Token:
        self.asked.append(how)
        ends = datetime.fromtimestamp(time.time() + 3600, UTC)
        return Token(f"access-{len(self.asked)}", f"refresh-{len(self.asked)}", "bearer", None, 3600.0, ends)


async def test_a_source_of_ones_own_signs_in_anew_while_the_store_is_down() -> None:
    """The refresh token may be everybody's."""
    store, source = Store(), OfOnesOwn()
    store.down = True
    manager = TokenManager(source, store=store)
    await manager.token()
    await manager.refresh()
    await manager.close()
    assert source.asked == ["login", "login"]
