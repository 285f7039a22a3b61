"""A lock must outlive what it guards: all that is asked of the service, and the save after it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, cast

import pytest
from cryptography.fernet import Fernet

from nexudus_async import (
    ConfigurationError,
    EncryptedStore,
    EndpointUnavailableError,
    MemoryStore,
    NexudusAuthError,
    PasswordCredentials,
    RedisStore,
    RefreshPolicy,
    RefreshTokenCredentials,
    Token,
    TokenEndpoint,
    TokenEndpointError,
    TokenManager,
    TokenSession,
    TokenSessions,
    TokenStore,
    TotpRequiredError,
)
from nexudus_async.stores._record import decode

from .virtual import USER, Clock, Http, Store, World, play


class Source:
    """Is never asked."""

    key = "an account"

    async def login(self) -> Token:
        raise AssertionError

    async def refresh(self, token: Token) -> Token:
        raise AssertionError


ME = PasswordCredentials("ops@example.com", "secret")
MAKERS: list[Callable[[TokenStore, RefreshPolicy], object]] = [
    lambda store, policy: TokenManager(Source(), store=store, policy=policy),
    lambda store, policy: TokenSession(ME, store=store, policy=policy),
    lambda store, policy: TokenSessions(lambda _account: ME, store=store, policy=policy),
]


@pytest.mark.parametrize("make", MAKERS, ids=["manager", "session", "sessions"])
@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize(
    ("lease", "deadline", "fits"), [(35, 30, True), (34.9, 30, False), (7, 2, True), (6.9, 2, False), (60, 56, False)]
)
def test_a_lease_that_is_too_short_is_refused(
    make: Callable[[TokenStore, RefreshPolicy], object], encrypted: bool, lease: float, deadline: float, fits: bool
) -> None:
    """Before the first use, where both are known: else two processes could refresh at once. It says what to do."""
    store: TokenStore = RedisStore("redis://example.org", lease=lease)
    if encrypted:
        store = EncryptedStore(store, Fernet.generate_key())
    policy = RefreshPolicy(flight_deadline=deadline)
    if fits:
        make(store, policy)
        return
    with pytest.raises(ConfigurationError, match=f"lease is {lease:g} s.*longer lease.*shorter flight_deadline"):
        make(store, policy)


@pytest.mark.parametrize("make", MAKERS, ids=["manager", "session", "sessions"])
def test_a_lock_that_does_not_end_by_itself_suits_every_policy(
    make: Callable[[TokenStore, RefreshPolicy], object],
) -> None:
    """Such a store has no lease."""
    make(MemoryStore(), RefreshPolicy(flight_deadline=3000))


class Leased(Store):
    """A store whose locks end after `lease` seconds, whoever holds them."""

    def __init__(self, world: World, lease: float) -> None:
        super().__init__()
        self._now, self.lease = world.now, lease
        self._ends = 0.0

    @asynccontextmanager
    async def refresh_lock(self, key: str) -> AsyncGenerator[None]:
        while self._now() < self._ends:  # noqa: ASYNC110 - it ends by the clock
            await asyncio.sleep(0.1)
        ends = self._ends = self._now() + self.lease
        try:
            yield
        finally:
            if self._ends == ends:
                self._ends = 0.0


async def insist(pod: TokenManager, start: float) -> Token:
    """Ask for a token until there is one."""
    await asyncio.sleep(start)
    while True:
        try:
            return await pod.token()
        except NexudusAuthError:
            await asyncio.sleep(3)


@pytest.mark.parametrize("lease", [35, 45, 60])
@pytest.mark.parametrize("seconds", [10, 20, 28])
def test_no_two_processes_ask_at_once_however_slow_the_service(lease: float, seconds: float) -> None:
    """The refresh token was refused, slowly: a sign-in follows only while the lock lasts, else in the next flight."""

    async def scene(world: World) -> None:
        world.store = Leased(world, lease)
        pods = [world.pod(), world.pod()]
        for pod in pods:
            await pod.token()
        await world.until(4000)
        world.endpoint.revoke()
        world.endpoint.latency = seconds / 2
        await asyncio.gather(*(insist(pod, 5.0 * number) for number, pod in enumerate(pods)))

    log = play(scene, lifetime=3600).endpoint.log[1:]
    assert len(log) >= 2
    assert all(later.at - earlier.at >= seconds for earlier, later in pairwise(log))


@pytest.mark.parametrize("lease", [35, 75])
def test_the_next_code_is_waited_for_only_while_the_lock_lasts(lease: float) -> None:
    """With a short lease the flight fails, and another one has that code."""

    async def scene(world: World) -> None:
        world.store = Leased(world, lease)
        world.endpoint.checks = lambda form: "two_factor_auth_check" if form["totp"] == "0" else None
        pod = world.pod(totp=lambda: str(int(world.now() // 30)))
        if lease < 60:
            with pytest.raises(TotpRequiredError):
                await pod.token()
            assert world.now() < 1
        await insist(pod, 0.0)
        assert 30 < world.now() < 35
        assert [sent.status for sent in world.endpoint.log] == [400, 200]

    play(scene, lifetime=3600)


def test_credentials_for_one_use_are_not_taken_when_there_is_no_time_to_send_them() -> None:
    """Or nothing could sign in any more: they count as used from then on. The refusal before is the cause."""

    async def scene(world: World) -> None:
        store, clock, handed_over = Leased(world, 35), Clock(world.loop), ["first"]
        credentials = RefreshTokenCredentials(lambda: handed_over[-1], client_id=USER)
        source = TokenEndpoint(
            cast(Any, Http(world.endpoint, "pod")), "https://spaces.nexudus.com", credentials, clock=clock
        )
        pod = TokenManager(source, store=store, clock=clock)
        world.pods.append(pod)
        world.endpoint.live[USER] = "first"
        await pod.token()
        await world.until(4000)
        handed_over.append("second")
        world.endpoint.live[USER] = "second"
        world.endpoint.latency = 14
        with pytest.raises(EndpointUnavailableError, match="too slow for the lock") as caught:
            await pod.token()
        cause = caught.value.__cause__
        assert isinstance(cause, TokenEndpointError)
        assert cause.error == "invalid_grant"
        await asyncio.sleep(1)
        await pod.token()

    log = play(scene, lifetime=3600).endpoint.log
    assert [(sent.refresh_token, sent.status) for sent in log[1:]] == [("refresh-2", 400), ("second", 200)]


def test_a_sign_in_that_the_lock_leaves_no_time_for_is_not_begun() -> None:
    """The refusal of the refresh token, which took so long, is its cause; the next flight signs in."""

    async def scene(world: World) -> None:
        world.store = Leased(world, 35)
        pod = world.pod()
        await pod.token()
        await world.until(4000)
        world.endpoint.revoke()
        world.endpoint.latency = 14
        with pytest.raises(EndpointUnavailableError, match="too slow for the lock") as caught:
            await pod.token()
        cause = caught.value.__cause__
        while cause is not None and "client_id header" not in str(cause):
            cause = cause.__cause__
        assert isinstance(cause, TokenEndpointError)
        world.endpoint.latency = 1
        await asyncio.sleep(2)
        assert world.endpoint.accepts(await pod.token())
        assert [sent.grant for sent in world.endpoint.log] == ["password", "refresh_token", "password"]

    play(scene, lifetime=3600)


@pytest.mark.parametrize("warm", [True, False], ids=["a refresh", "a sign-in"])
def test_a_store_that_takes_the_time_of_the_lock_leaves_none_to_send_anything(warm: bool) -> None:
    """So the refresh token is as good as before."""

    async def scene(world: World) -> None:
        world.store = store = Leased(world, 7)
        pod = world.pod(policy=RefreshPolicy(flight_deadline=2))
        if warm:
            await pod.token()
            await asyncio.sleep(1)
        store.latency = 0.9 if warm else 2.1
        with pytest.raises(EndpointUnavailableError, match="too slow for the lock"):
            await pod.refresh()
        await asyncio.sleep(10)
        assert len(world.endpoint.log) == warm
        ((key, stored),) = store.records.items()
        assert not decode(stored, key).in_doubt
        store.latency = 0.001
        await pod.refresh()
        assert [sent.grant for sent in world.endpoint.log] == ["password", "refresh_token"][: 1 + warm]

    play(scene, lifetime=3600)


def test_a_refresh_ends_with_the_lock_however_slow_the_store_was_before_it() -> None:
    """And what is learned from its failure is noted before another process has the lock."""

    async def scene(world: World) -> None:
        world.store = store = Leased(world, 35)
        pod = world.pod()
        await pod.token()
        await asyncio.sleep(1)
        store.latency = 2.0
        world.endpoint.fault = lambda _grant: 0
        began = world.now()
        with pytest.raises(EndpointUnavailableError):
            await pod.refresh()
        assert 30 < world.now() - began <= store.latency + 35

    play(scene, lifetime=3600)


def test_credentials_that_come_too_late_for_the_lock_are_not_taken() -> None:
    """A vault that is slow, after a service that is: what it gives is good for the next flight."""

    async def scene(world: World) -> None:
        handed_over, seconds = ["first"], 0.0

        async def vault() -> str:
            await asyncio.sleep(seconds)
            return handed_over[-1]

        world.store = Leased(world, 35)
        world.endpoint.live[USER] = "first"
        pod = world.pod(credentials=RefreshTokenCredentials(vault, client_id=USER, username=USER))
        await pod.token()
        await world.until(4000)
        handed_over.append("second")
        world.endpoint.live[USER] = "second"
        world.endpoint.latency, seconds = 5, 25.0
        with pytest.raises(EndpointUnavailableError, match="no answer"):
            await pod.token()
        assert world.now() < 4031
        seconds = 0.0
        await asyncio.sleep(2)
        await pod.token()
        assert world.endpoint.log[-1].refresh_token == "second"

    play(scene, lifetime=3600)
