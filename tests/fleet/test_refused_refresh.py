"""A refresh that the service refuses is told: a warning, an event, a failure, and the cause of what callers get.

Also where a sign-in follows and heals it, as behind a proxy that drops the `client_id` header. In virtual time.
"""

import asyncio
import json
import logging
from typing import Any

import pytest

from nexudus_async import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    LoginRequiredError,
    RefreshFailed,
    RefreshTokenCredentials,
    StoredToken,
    TokenEndpointError,
    TokenObtained,
)

from .virtual import USER, World, play

HINT = "client_id header"
SHARED = pytest.mark.parametrize("shared", [False, True], ids=["alone", "with a store"])


def refusals(world: World) -> list[RefreshFailed]:
    events = [event for event in world.events if isinstance(event, RefreshFailed)]
    return [event for event in events if HINT in str(event.error)]


def chain(error: BaseException) -> list[BaseException]:
    """Return what an error says that it came from."""
    links = [error]
    while (link := links[-1].__cause__) is not None:
        links.append(link)
    return links


def says_so(error: BaseException) -> bool:
    return any(HINT in str(link) and isinstance(link, TokenEndpointError) for link in chain(error))


@SHARED
def test_every_refused_refresh_is_told_though_a_sign_in_follows(shared: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Five hours behind such a proxy: five warnings, five events, five failures, and every caller served."""

    async def scene(world: World) -> None:
        pod = world.pod(shared=shared)
        await pod.token()
        for hour in range(1, 6):
            await world.until(3700 * hour)
            world.endpoint.revoke(access=False)
            assert world.endpoint.accepts(await pod.token())
            assert pod.statistics().failures == hour
            assert len(refusals(world)) == hour
        assert pod.statistics().sign_ins == 6
        assert pod.statistics().retry_in == 0

    with caplog.at_level(logging.WARNING):
        world = play(scene, lifetime=3600)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 5
    assert all(HINT in each and each.startswith("pod 0: ") for each in warnings)
    kinds = [type(event) for event in world.events]
    assert kinds == [TokenObtained] + [RefreshFailed, TokenObtained] * 5
    assert {(event.reason, event.served, event.account) for event in refusals(world)} == {("expired", False, "pod 0")}


@SHARED
@pytest.mark.parametrize(
    ("then", "kind"), [("wrong password", CredentialsRejectedError), ("503", EndpointUnavailableError)]
)
def test_a_refused_refresh_is_the_cause_of_what_callers_get(shared: bool, then: str, kind: type[Exception]) -> None:
    """When the sign-in after it fails: those who waited, those who come during the pause, and the listener."""

    async def scene(world: World) -> None:
        pod = world.pod(shared=shared)
        await pod.token()
        await world.until(3601)
        world.endpoint.revoke()
        if then == "503":
            world.endpoint.fault = lambda grant: 503 if grant == "password" else None
        else:
            world.endpoint.password = "another"
        results: list[Any] = await asyncio.gather(*(pod.token() for _ in range(5)), return_exceptions=True)
        await asyncio.sleep(0.1)
        with pytest.raises(kind) as caught:
            await pod.token()
        assert {type(result) for result in results} == {kind}
        assert all(map(says_so, [*results, caught.value]))
        assert len({id(result) for result in results}) == 5
        assert len(refusals(world)) == 1
        assert pod.statistics().failures == 1, "one attempt"

    play(scene, lifetime=3600)


@SHARED
@pytest.mark.parametrize("status", [400, 401])
def test_without_credentials_the_refusal_is_the_cause_of_login_required(shared: bool, status: int) -> None:
    """Not only "no usable tokens in the store"."""

    async def scene(world: World) -> None:
        elsewhere = world.pod()
        await elsewhere.token()
        await asyncio.sleep(1)
        worker = world.pod(None)
        await worker.token()
        await world.until(3601)
        world.endpoint.revoke()
        with pytest.raises(LoginRequiredError) as caught:
            await worker.token()
        assert says_so(caught.value)
        assert len(refusals(world)) == 1
        with pytest.raises(LoginRequiredError) as again:
            await worker.token()
        assert says_so(again.value)

    play(scene, lifetime=3600)


@SHARED
def test_with_what_was_handed_over_used_the_refusal_is_the_cause_of_login_required(shared: bool) -> None:
    """Not only that it is not sent again."""

    async def scene(world: World) -> None:
        world.endpoint.live["a chain"] = "handed-over"
        credentials = RefreshTokenCredentials("handed-over", client_id="a chain", username=USER)
        worker = world.pod(credentials=credentials, shared=shared)
        await worker.token()
        await world.until(3601)
        world.endpoint.revoke()
        with pytest.raises(LoginRequiredError) as caught:
            await worker.token()
        assert says_so(caught.value)
        assert world.endpoint.count("refresh_token") == 2

    play(scene, lifetime=3600)


def test_a_refusal_is_the_cause_where_the_fleets_latch_forbids_the_sign_in() -> None:
    """Another process has tried the password already."""

    async def scene(world: World) -> None:
        one, two = world.pod(), world.pod()
        for pod in (one, two):
            await pod.token()
        await asyncio.sleep(1)
        world.endpoint.password = "another"
        with pytest.raises(CredentialsRejectedError):
            await one.sign_in()
        await asyncio.sleep(1)
        world.endpoint.revoke()
        with pytest.raises(CredentialsRejectedError) as caught:
            await two.reject(await two.token())
        assert world.endpoint.log[-1].grant == "refresh_token"
        assert says_so(caught.value)
        with pytest.raises(CredentialsRejectedError) as again:
            await two.token()
        assert says_so(again.value)

    play(scene, lifetime=3600)


def test_a_refusal_that_another_processs_token_makes_good_is_told_all_the_same() -> None:
    """A lease that has run out: both send the same refresh token, and who was too late adopts."""

    async def scene(world: World) -> None:
        one = world.pod()
        await one.token()
        await world.until(3601)
        world.endpoint.latency = 1
        late: asyncio.Task[Any] = asyncio.create_task(one.token())
        await asyncio.sleep(0.5)
        await steal(world)
        assert world.endpoint.accepts(await late)
        assert len(refusals(world)) == 1
        assert one.statistics().failures == 1
        assert one.statistics().adoptions == 1

    play(scene, lifetime=3600)


async def steal(world: World) -> None:
    """Let a process refresh in spite of the lock, before the other's request arrives."""
    key, stored = next(iter(world.store.records.items()))
    document = json.loads(stored.payload)
    client_id, refresh = document["client_id"], document["token"]["refresh_token"]
    answer = world.endpoint.carry_out({"grant_type": "refresh_token", "refresh_token": refresh}, client_id)
    document["token"] |= {
        "access_token": answer["access_token"], "refresh_token": answer["refresh_token"],
        "expires_at": document["token"]["expires_at"] + 3600,
    }  # fmt: skip
    document["in_doubt"] = False
    world.store.records[key] = StoredToken(stored.generation + 1, json.dumps(document))


@SHARED
def test_a_refused_refresh_token_is_dropped_and_nothing_else(shared: bool) -> None:
    """The access token beside it is served as long as it lives; then a sign-in, and no second refusal."""

    async def scene(world: World) -> None:
        pod = world.pod(shared=shared)
        token = await pod.token()
        await world.until(3300)
        world.endpoint.revoke(access=False)
        world.endpoint.password = "another"
        await pod.token()
        await asyncio.sleep(1)
        assert (await pod.token()).access_token == token.access_token
        assert (await pod.token()).refresh_token is None
        world.endpoint.password = "right"
        await world.until(3601)
        assert world.endpoint.accepts(await pod.token())
        assert world.endpoint.count("refresh_token") == 1

    play(scene, lifetime=3600)
