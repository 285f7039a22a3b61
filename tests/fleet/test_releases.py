"""Releases side by side: what an older one has written is read, and what a newer one has written is left alone.

In virtual time (`tests/fleet/virtual.py`).
"""

import asyncio
import json
import math
from typing import Any

import pytest

from nexudus_async import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    StoredToken,
    StoreError,
    StoreFailed,
    TokenAdopted,
    TokenManager,
)

from .virtual import START_WALL, World, play

KEY = "53a3d288cf774395a6eb983b92ff9f10"
"""Of ops@example.com at https://spaces.nexudus.com."""
TOKEN = (
    '"token": {"access_token": "access-1", "refresh_token": "refresh-2", "token_type": "bearer", '
    '"client_id": "nexudus-async-0123456789abcdef", "lifetime": 3600, "expires_at": 1767229200.0, "generation": 7}, '
    '"in_doubt": false, "client_id": "nexudus-async-0123456789abcdef", '
)
LATCH = '"latch": {"rejections": 2, "until": %s, "error": "CredentialsRejectedError", "fingerprint": null%s}, '
SINCE = ', "since": 1767225590.0, "probed": true'
NO_TOKEN = '"token": null, "in_doubt": false, "client_id": null, '
HEAD = f'{{"version": 1, "key": "{KEY}", '
PAUSE = ', "pause": {"failures": 3, "until": %s, "served": false, "kind": "EndpointUnavailableError", "error": "503"}}'


def put(world: World, payload: str, generation: int = 7) -> None:
    world.store.records[KEY] = StoredToken(generation, payload)
    world.events.clear()


@pytest.mark.parametrize(
    "payload",
    [
        HEAD + TOKEN + '"latch": null, "logged_out_until": 0.0}',
        HEAD + TOKEN + (LATCH % ("1767225700.0", "")) + '"logged_out_until": 0.0}',
        HEAD + TOKEN + (LATCH % ("1767225700.0", SINCE)) + '"logged_out_until": 0.0, "pause": null}',
        HEAD + TOKEN + '"latch": null, "logged_out_until": 0.0' + PAUSE % "1767225605.0",
        HEAD
        + TOKEN
        + '"latch": null, "logged_out_until": 0.0, "pause": null, "server": "6f1c:09ab", "tried": ["a1b2"]}',
        HEAD + TOKEN + '"latch": null, "logged_out_until": 0.0, "a later addition": {"of": ["any", "kind"]}}',
    ],
    ids=["the release before", "with its latch", "today's latch", "today's pause", "today's marks", "an addition"],
)
def test_a_record_of_version_1_stays_readable(payload: str) -> None:
    """Word for word as it lies in somebody's store: adopted, and refreshed under its `client_id`."""

    async def scene(world: World) -> None:
        put(world, payload)
        world.endpoint.live["nexudus-async-0123456789abcdef"] = "refresh-2"
        pod = world.pod()
        token = await pod.token()
        assert (token.access_token, token.generation) == ("access-1", 7)
        assert pod.statistics().expires_in == pytest.approx(3600, abs=1)
        assert (await pod.refresh()).generation == 8
        sent = world.endpoint.log[0]
        assert (sent.refresh_token, sent.client_id) == ("refresh-2", "nexudus-async-0123456789abcdef")
        assert not [event for event in world.events if isinstance(event, StoreFailed)]

    play(scene, lifetime=3600)


@pytest.mark.parametrize("until", [1767225900.0, math.inf], ids=["five minutes", "for good"])
def test_a_latch_of_the_release_before_holds_as_long_as_one_may(until: float) -> None:
    """It latched for good after the third refusal: that no latch does today."""

    async def scene(world: World) -> None:
        put(world, HEAD + NO_TOKEN + LATCH % (json.dumps(until), "") + '"logged_out_until": 0.0}', 0)
        pod = world.pod()
        if until == math.inf:
            assert await pod.token()
            return
        with pytest.raises(CredentialsRejectedError, match="for another 300 s"):
            await pod.token()
        assert world.endpoint.log == []

    play(scene, lifetime=3600)


def test_a_pause_holds_and_tells_why() -> None:
    """Of a record that an earlier run has left."""

    async def scene(world: World) -> None:
        until = json.dumps(START_WALL + 4)
        put(world, HEAD + NO_TOKEN + '"latch": null, "logged_out_until": 0.0' + PAUSE % until, 0)
        pod = world.pod()
        with pytest.raises(EndpointUnavailableError, match="in this or another process: 503"):
            await pod.token()
        assert world.endpoint.log == []
        await world.until(4.1)
        assert await pod.token()

    play(scene, lifetime=3600)


@pytest.mark.parametrize("until", [START_WALL + 86400 * 365, math.inf, -1.0], ids=["a year", "for good", "long ago"])
def test_a_pause_that_no_host_would_make_is_that_of_a_wrong_clock(until: float) -> None:
    """It holds nobody off."""

    async def scene(world: World) -> None:
        put(world, HEAD + NO_TOKEN + '"latch": null, "logged_out_until": 0.0' + PAUSE % json.dumps(until), 0)
        assert await world.pod().token()

    play(scene, lifetime=3600)


@pytest.mark.parametrize("version", ["0", '"1"', "1.5", "null", "-1"])
def test_a_record_of_no_known_version_is_none(version: str) -> None:
    """However much the rest of it looks like one of ours."""

    async def scene(world: World) -> None:
        pod = world.pod()
        await pod.token()
        await asyncio.sleep(0.1)
        ((key, stored),) = world.store.records.items()
        foreign = stored.payload.replace('"version": 1', f'"version": {version}')
        world.store.records[key] = StoredToken(stored.generation, foreign)
        another = world.pod()
        assert (await another.token()).access_token != (await pod.token()).access_token
        assert [event for event in world.events if isinstance(event, StoreFailed)]

    play(scene, lifetime=3600)


def test_a_tombstone_of_the_release_before_is_one() -> None:
    """Who holds the chain that it has ended drops it."""

    async def scene(world: World) -> None:
        pod = world.pod()
        await pod.token()
        await asyncio.sleep(1)
        put(world, HEAD + NO_TOKEN + f'"latch": null, "logged_out_until": {START_WALL + 86400}}}', 2)
        await world.until(3000)
        await pod.token()
        await asyncio.sleep(1)
        assert (await pod.token()).generation == 3
        assert (world.endpoint.count("password"), world.endpoint.count("refresh_token")) == (2, 0)

    play(scene, lifetime=3600)


NEWER = json.dumps({"version": 2, "everything": "is different", "token": {"refresh_token": "refresh-9"}})


async def in_a_newer_world(world: World, generation: int, **options: Any) -> TokenManager:
    """Return a pod that holds generation 1, beside a record of the next release."""
    pod = world.pod(**options)
    await pod.token()
    await asyncio.sleep(1)
    put(world, NEWER, generation)
    return pod


def check_left_alone(world: World) -> None:
    assert world.store.records[KEY].payload == NEWER
    assert not [event for event in world.events if isinstance(event, TokenAdopted)]
    assert [event for event in world.events if isinstance(event, StoreFailed)], "and it is told"


def test_a_newer_records_generation_says_that_our_refresh_token_is_spent() -> None:
    """Served until its end, nothing replaced, nothing adopted; then a sign-in under a `client_id` of its own."""

    async def scene(world: World) -> None:
        pod = await in_a_newer_world(world, 2)
        for moment in range(2000, 3500, 100):
            await world.until(moment)
            assert (await pod.token()).generation == 1
        assert len(world.endpoint.log) == 1
        await world.until(3601)
        assert (await pod.token()).generation == 3
        await asyncio.sleep(120)
        check_left_alone(world)
        assert world.endpoint.count("refresh_token") == 0
        assert len({sent.client_id for sent in world.endpoint.log}) == 2

    play(scene, lifetime=3600)


def test_beside_a_newer_record_a_process_goes_on_with_its_own_chain() -> None:
    """A day of it: one sign-in apart, then its own refresh tokens, each once."""

    async def scene(world: World) -> None:
        pod = await in_a_newer_world(world, 2)
        for hour in range(1, 24):
            await world.until(3600 * hour + 60 * hour)
            assert world.endpoint.accepts(await pod.token())
        await asyncio.sleep(120)
        check_left_alone(world)
        assert world.endpoint.count("password") == 2
        assert world.endpoint.count("refresh_token") >= 21

    world = play(scene, lifetime=3600)
    assert world.endpoint.reused == 0


def test_a_logout_beside_a_newer_record_replaces_nothing_and_adopts_nothing() -> None:
    """Nor does close."""

    async def scene(world: World) -> None:
        pod = await in_a_newer_world(world, 2)
        await pod.logout()
        check_left_alone(world)
        assert (await pod.token()).access_token != "access-1"
        await pod.close()
        check_left_alone(world)

    play(scene, lifetime=3600)


def test_without_credentials_a_newer_record_of_a_higher_generation_is_the_end() -> None:
    """There is nothing that may be sent."""

    async def scene(world: World) -> None:
        await world.pod().token()
        await asyncio.sleep(1)
        worker = world.pod(None)
        assert await worker.token()
        put(world, NEWER, 2)
        await world.until(3601)
        with pytest.raises(StoreError, match="later release"):
            await worker.token()
        assert world.endpoint.count("refresh_token") == 0
        check_left_alone(world)

    play(scene, lifetime=3600)


def test_a_newer_record_of_our_own_generation_or_an_older_one_is_a_store_that_is_down() -> None:
    """Our refresh token may be good, and is left alone as long as there are credentials."""

    async def scene(world: World) -> None:
        pod = await in_a_newer_world(world, 1)
        await world.until(3601)
        assert await pod.token()
        check_left_alone(world)
        assert world.endpoint.count("refresh_token") == 0

    play(scene, lifetime=3600)


def test_a_fleet_on_two_releases_reuses_no_refresh_token() -> None:
    """Today's pods beside one that is updated: it goes on with the chain, they leave it alone."""

    async def scene(world: World) -> None:
        pods = [world.pod() for _ in range(4)]
        for pod in pods:
            await pod.token()
        await asyncio.sleep(1)
        put(world, NEWER, 2)
        world.endpoint.used.add("refresh-2")  # by the updated pod
        world.endpoint.live.clear()
        await world.until(3601)
        for pod in pods:
            assert world.endpoint.accepts(await pod.token())
        await asyncio.sleep(60)
        check_left_alone(world)

    world = play(scene, lifetime=3600)
    assert world.endpoint.reused == 0
    assert world.endpoint.count("password") == 5
