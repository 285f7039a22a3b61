"""The token endpoint is out of order: a fleet asks it as seldom as one process would, and notices when it is back.

In virtual time (`tests/fleet/virtual.py`).
"""

import asyncio
import functools
import itertools
import math
from collections import Counter
from dataclasses import dataclass
from random import Random

import aiohttp
import pytest

from nexudus_async import (
    EndpointUnavailableError,
    Freshness,
    MemoryStore,
    PasswordCredentials,
    RefreshPolicy,
    TokenEndpoint,
)
from nexudus_async._events import Emitter
from nexudus_async._fleet.assembly import refresher_with
from nexudus_async._refresh.renewal import Asking
from nexudus_async._refresh.state import TokenState
from nexudus_async.stores._record import decode, encode
from nexudus_async.testing import ManualClock

from .virtual import Caller, World, call, play, spawn

OUTAGE = 30.0
SEEDS = range(3)
LONGEST = 2.0
"""Seconds of the longest pause in the first half minute while there is nothing to serve."""


@dataclass
class Outcome:
    """requests: token requests during the outage. back: seconds after it until the first token, and until the last."""

    requests: list[tuple[float, str]]
    first: float
    last: float


@functools.cache
def outage(pods: int, *, warm: bool, seed: int) -> Outcome:
    """Let the endpoint answer 500 for half a minute, while every pod has a caller that asks each 0.2 s."""
    callers: list[Caller] = []
    times: list[float] = []

    async def scene(world: World) -> None:
        for _ in range(pods):
            world.pod()
        if warm:
            await asyncio.gather(*(pod.token() for pod in world.pods))
        await world.until(20 + 10 * world.random.random())
        begin, end = world.now(), world.now() + OUTAGE
        times.extend([begin, end])
        world.endpoint.fault = lambda _grant: 500 if world.now() < end else None
        start = world.random.random
        callers.extend(await asyncio.gather(*spawn(*(call(world, pod, end + 10, start=start()) for pod in world.pods))))

    world = play(scene, lifetime=10, seed=seed)
    assert world.endpoint.reused == 0
    begin, end = times
    back = [min(moment for moment in caller.served if moment >= end) - end for caller in callers]
    during = [(sent.at, sent.grant) for sent in world.endpoint.log if begin <= sent.at < end]
    return Outcome(during, min(back), max(back))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("warm", [True, False], ids=["with tokens of ten seconds", "without a token"])
def test_eight_pods_ask_hardly_more_often_than_one(seed: int, warm: bool) -> None:
    """The pause lies in the record: one of them probes, and all wait. No refresh token goes out twice by mistake."""
    one, eight = (outage(pods, warm=warm, seed=seed) for pods in (1, 8))
    assert len(eight.requests) <= 1.5 * len(one.requests)
    assert len(eight.requests) >= 10, "a pause of more than two seconds would outlive the outage"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("warm", [True, False], ids=["with tokens of ten seconds", "without a token"])
def test_one_probe_ends_the_pause_for_all(seed: int, warm: bool) -> None:
    """The first token comes with the next probe, and half a second later everybody has it."""
    back = outage(8, warm=warm, seed=seed)
    assert back.first <= LONGEST + 0.5
    assert back.last - back.first <= 1.0


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "with a store"])
def test_a_sign_in_is_tried_again_at_once_unless_the_last_has_failed(shared: bool) -> None:
    """A hiccup is over a moment later; of an outage one request in each probe is enough. Whoever asks by hand may."""

    async def scene(world: World) -> None:
        pod = world.pod(shared=shared)
        world.endpoint.fault = lambda _grant: 500
        caller = await call(world, pod, 1.5)
        assert not caller.served
        assert len(world.endpoint.log) == 3 + 1
        with pytest.raises(EndpointUnavailableError):
            await pod.refresh()
        assert len(world.endpoint.log) == 3 + 1 + 3
        world.endpoint.fault = lambda _grant: None
        await asyncio.sleep(3)
        await pod.token()
        world.endpoint.fault = lambda _grant: 500
        with pytest.raises(EndpointUnavailableError):
            await pod.sign_in()
        assert len(world.endpoint.log) == 3 + 1 + 3 + 1 + 3

    play(scene, lifetime=3600)


def test_another_processs_failure_makes_a_probe_of_the_first_sign_in() -> None:
    """Which is all that eight pods send more than one."""

    async def scene(world: World) -> None:
        one, two = world.pod(), world.pod()
        world.endpoint.fault = lambda _grant: 500
        with pytest.raises(EndpointUnavailableError):
            await one.token()
        await asyncio.sleep(0.6)
        with pytest.raises(EndpointUnavailableError):
            await two.token()
        assert [sent.pod for sent in world.endpoint.log] == ["pod 0"] * 3 + ["pod 1"]

    play(scene, lifetime=3600)


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "with a store"])
def test_a_short_token_is_refreshed_again_before_it_ends(shared: bool) -> None:
    """One that ends before the pauses would is tried for again in half of what is left of it, and again."""

    async def scene(world: World) -> None:
        pod = world.pod(policy=RefreshPolicy(jitter=0), shared=shared)
        await pod.token()
        world.endpoint.fault = lambda _grant: 500
        caller = await call(world, pod, 19.9, every=0.05)
        assert not caller.failed

    world = play(scene, lifetime=20)
    moments = [sent.at for sent in world.endpoint.log[1:]]
    assert [round(moment) for moment in moments] == [10, 15, 18, 20]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("shared", [False, True], ids=["alone", "with a store"])
def test_an_endpoint_that_fails_half_of_the_time_costs_a_quarter_of_the_requests(shared: bool, seed: int) -> None:
    """Tokens of a second, at random: three in four are served in the long run."""
    served, failed = 0, 0

    async def scene(world: World) -> None:
        nonlocal served, failed
        chance = Random(seed).random
        world.endpoint.latency = 0.005
        world.endpoint.fault = lambda grant: 500 if grant == "refresh_token" and chance() < 0.5 else None
        pod = world.pod(shared=shared)
        await pod.token()
        caller = await call(world, pod, 500, every=0.1)
        served, failed = len(caller.served), len(caller.failed)

    play(scene, lifetime=1, seed=seed)
    assert served >= 0.7 * (served + failed)


def test_a_fleet_without_a_token_sends_few_passwords() -> None:
    """Ninety-six in half a minute lock an account; here three tries at first, and then one for each probe."""
    eight = outage(8, warm=False, seed=0)
    assert {grant for _, grant in eight.requests} == {"password"}
    assert len(eight.requests) <= 25


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "with a store"])
def test_an_endpoint_that_fails_every_other_time_costs_few_requests(shared: bool) -> None:
    """Tokens of a second, fifty workers: a pause that was made while a token was served ends with the token."""

    async def scene(world: World) -> None:
        turn = itertools.count(1)
        world.endpoint.fault = lambda grant: 500 if grant == "refresh_token" and next(turn) % 2 == 0 else None
        pod = world.pod(shared=shared)
        await pod.token()
        workers = (call(world, pod, 60, every=0.02, start=0.003 * n) for n in range(50))
        callers = await asyncio.gather(*spawn(*workers))
        served = sum(len(caller.served) for caller in callers)
        assert served >= 0.75 * (served + sum(len(caller.failed) for caller in callers))
        assert len(world.endpoint.log) >= 60

    play(scene, lifetime=1)


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "with a store"])
def test_a_pause_made_while_a_token_was_served_ends_with_it(shared: bool) -> None:
    """However often somebody has looked at the record in between."""

    async def scene(world: World) -> None:
        pod = world.pod(shared=shared)
        await pod.token()
        await world.until(3590)
        world.endpoint.fault = lambda _grant: 503
        for _ in range(40):
            assert await pod.token()
            await asyncio.sleep(0.2)
        assert pod.statistics().retry_in > 20
        world.endpoint.fault = lambda _grant: None
        await world.until(3600.1)
        assert await pod.token()

    play(scene, lifetime=3600)


def test_while_a_token_is_served_a_pause_costs_the_store_little() -> None:
    """Nobody waits, so nobody needs to look at the record twice a second."""

    async def scene(world: World) -> None:
        pods = [world.pod(policy=RefreshPolicy(jitter=0)) for _ in range(10)]
        for pod in pods:
            await pod.token()
        world.endpoint.fault = lambda _grant: 503
        await world.until(2701)
        before = Counter(world.store.counts)
        callers = await asyncio.gather(*spawn(*(call(world, pod, world.now() + 60) for pod in pods)))
        assert not any(caller.failed for caller in callers)
        assert (world.store.counts - before)["load"] <= 10 * 60 / 4

    play(scene, lifetime=3600)


def test_while_a_token_is_served_another_pods_success_is_found() -> None:
    """Long before the pause ends, which may be five minutes."""

    async def scene(world: World) -> None:
        one, two = world.pod(), world.pod()
        for pod in (one, two):
            await pod.token()
        await world.until(3100)
        world.endpoint.fault = lambda _grant: 503
        await asyncio.gather(*(call(world, pod, world.now() + 120, every=1) for pod in (one, two)))
        assert two.statistics().retry_in > 60
        world.endpoint.fault = lambda _grant: None
        token = await one.refresh()
        await call(world, two, world.now() + 15, every=1)
        assert two.freshness is Freshness.FRESH
        assert (await two.token()).access_token == token.access_token

    play(scene, lifetime=3600)


@pytest.mark.parametrize("delay", [0.0, 0.0005, 0.0015, 0.0025, 0.0035])
@pytest.mark.parametrize("error", [503, "the password is refused"])
def test_a_refresh_by_hand_that_meets_a_look_during_a_pause_tries_all_the_same(delay: float, error: object) -> None:
    """The look would end in the remembered failure; whoever asks by hand does not share that."""

    async def scene(world: World) -> None:
        pod = world.pod()
        await pod.token()
        await world.until(3300)
        if error == 503:
            world.endpoint.fault = lambda _grant: 503
        else:
            world.endpoint.password = "another"
            world.endpoint.revoke(access=False)
        await pod.token()
        await asyncio.sleep(10)
        assert pod.statistics().retry_in > 0
        world.endpoint.password = "right"
        world.endpoint.fault = lambda _grant: None
        await pod.token()
        await asyncio.sleep(delay)
        assert world.endpoint.accepts(await pod.refresh())
        assert pod.statistics().generation == 2

    play(scene, lifetime=3600)


@pytest.mark.parametrize("pods", [1, 4], ids=["alone", "with a store"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_sign_in_that_is_refused_without_a_reason_is_no_storm(pods: int, status: int) -> None:
    """Something before the service may have said it, or the service: for hours, with callers all the time."""
    hours = 4

    async def scene(world: World) -> None:
        world.endpoint.fault = lambda _grant: status
        made = [world.pod(shared=pods > 1) for _ in range(pods)]
        await asyncio.gather(*spawn(*(call(world, pod, hours * 3600, every=10) for pod in made)))
        world.endpoint.fault = lambda _grant: None
        back = await call(world, made[0], world.now() + 400, every=1)
        assert back.served

    assert len(play(scene, lifetime=3600).endpoint.log) <= hours * 3600 / 300 + 20


def test_a_failure_of_ones_own_that_the_fleet_still_holds_off_for_is_told_as_ones_own() -> None:
    """The pause in the record is longer than that of this process, each by its own chance."""

    async def scene(world: World) -> None:
        pod = world.pod()
        world.endpoint.fault = lambda _grant: 503
        with pytest.raises(EndpointUnavailableError) as first:
            await pod.token()
        ((key, stored),) = world.store.records.items()
        record = decode(stored, key)
        assert record.pause is not None
        longer = record._replace(pause=record.pause._replace(until=record.pause.until + 60))
        world.store.records[key] = encode(longer, key)
        await asyncio.sleep(5)
        assert pod.statistics().retry_in == 0
        with pytest.raises(EndpointUnavailableError) as caught:
            await pod.token()
        assert len(world.endpoint.log) == 3, "three tries of the first attempt"
        assert str(caught.value) == str(first.value)

    play(scene, lifetime=3600)


@pytest.mark.parametrize(
    ("looked_ago", "served", "looks"),
    [(0.4, False, False), (0.5, False, True), (4.9, True, False), (5.0, True, True), (math.inf, True, True)],
)
def test_during_a_pause_the_record_is_looked_at_now_and_then(looked_ago: float, served: bool, looks: bool) -> None:
    """Twice a second while callers fail; every five seconds while nobody waits."""
    clock, policy = ManualClock(), RefreshPolicy()
    source = TokenEndpoint(no_session, "https://spaces.nexudus.com", PasswordCredentials("ops@example.com", "right"))
    renewal = refresher_with(
        MemoryStore(), Asking(source, policy, clock), TokenState(policy, clock, lambda: 0.0),
        key=source.key, policy=policy, chance=lambda: 0.0, emitter=Emitter(None),
    )  # fmt: skip
    assert renewal.worth_a_look(EndpointUnavailableError("503"), looked_ago, served=served) is looks


def no_session() -> aiohttp.ClientSession:
    raise AssertionError("nothing is sent")
