"""What a flight writes to the record that a fleet shares, before the request and after it, and what it leaves alone.

In virtual time (`tests/fleet/virtual.py`).
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from nexudus_async import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    LoginRequiredError,
    RefreshTokenCredentials,
    StoredToken,
    StoreError,
    TokenManager,
)
from nexudus_async.stores._record import Latch, Record, decode, encode
from tests.inside import key_of_manager, save_now, storage_of

from .virtual import START_WALL, USER, Store, World, play

SERVER = "server one"
LATCH = Latch(2, START_WALL + 300, "CredentialsRejectedError", since=START_WALL)


class Named(Store):
    """A store that tells which server it is on, and remembers all that was saved.

    answers_lost: how many of the next saves are carried out and fail.
    """

    def __init__(self) -> None:
        super().__init__()
        self.saved: list[Record] = []
        self.answers_lost = 0

    async def save(self, key: str, record: StoredToken) -> None:
        self.saved.append(decode(record, key))
        await super().save(key, record)
        if self.answers_lost:
            self.answers_lost -= 1
            raise StoreError("the answer was lost")

    async def server(self, key: str) -> str | None:
        return SERVER


def record(world: World) -> Record:
    """Return what lies in the store."""
    ((key, stored),) = world.store.records.items()
    return decode(stored, key)


def look(world: World) -> list[tuple[str, Record]]:
    """Return a list that is filled with what lies in the store at each token request."""
    seen = list[tuple[str, Record]]()
    fault = world.endpoint.fault

    def note(grant: str) -> int | None:
        seen.append((grant, record(world)))
        return fault(grant)

    world.endpoint.fault = note
    return seen


def named(world: World) -> Named:
    assert isinstance(world.store, Named)
    return world.store


async def two_with_a_token(world: World) -> tuple[TokenManager, TokenManager]:
    one, two = world.pod(), world.pod()
    for pod in (one, two):
        await pod.token()
    await asyncio.sleep(1)
    return one, two


def played(scene: Callable[[World], Coroutine[Any, Any, None]]) -> World:
    async def main(world: World) -> None:
        world.store = Named()
        await scene(world)

    return play(main, lifetime=3600)


def test_before_a_refresh_token_is_sent_the_record_says_so() -> None:
    """Of the token, nothing else: whoever comes next, if this process dies, goes by it."""

    async def scene(world: World) -> None:
        pod = world.pod()
        token = await pod.token()
        await asyncio.sleep(1)
        before = record(world)
        assert before == Record(1, token, client_id=token.client_id, server=SERVER)
        ((key, _),) = world.store.records.items()
        world.store.records[key] = encode(before._replace(server=None), key)  # of when the store hid it
        seen = look(world)
        newer = await pod.refresh()
        await asyncio.sleep(1)
        assert seen == [("refresh_token", before._replace(in_doubt=True))]
        assert record(world) == Record(2, newer, client_id=token.client_id, server=SERVER)

    played(scene)


@pytest.mark.parametrize(("status", "in_doubt"), [(503, False), (429, False), (502, True), (0, True)])
def test_a_refresh_that_fails_leaves_the_chain_as_it_is(status: int, in_doubt: bool) -> None:
    """A pause is noted, and whether the refresh token may have been used."""

    async def scene(world: World) -> None:
        pod = world.pod()
        await pod.token()
        await asyncio.sleep(1)
        before = record(world)
        world.endpoint.fault = lambda _grant: status
        with pytest.raises(EndpointUnavailableError):
            await pod.refresh()
        await asyncio.sleep(1)
        left = record(world)
        assert left.pause is not None
        assert left == before._replace(in_doubt=in_doubt, pause=left.pause)

    played(scene)


def test_a_refresh_that_is_refused_takes_the_refresh_token_from_the_record() -> None:
    """And nothing else: the access token is good. Nobody sends it again, and nobody signs in during the latch."""

    async def scene(world: World) -> None:
        one, two = await two_with_a_token(world)
        before = record(world)
        world.endpoint.revoke(access=False)
        world.endpoint.password = "another"
        with pytest.raises(CredentialsRejectedError):
            await one.refresh()
        left = record(world)
        assert left.token is not None
        assert left.token.refresh_token is None
        assert left.latch is not None
        assert before.token is not None
        assert left.token.access_token == before.token.access_token
        assert left._replace(token=None, latch=None) == before._replace(token=None)
        await world.until(3000)
        for pod in (one, two):
            assert world.endpoint.accepts(await pod.token())
        await asyncio.sleep(10)
        assert world.endpoint.count("refresh_token") == 1

    played(scene)


def test_a_sign_in_by_hand_that_is_refused_leaves_the_chain_to_the_others() -> None:
    """Nothing of it was sent, so there is no doubt about its refresh token."""

    async def scene(world: World) -> None:
        one, two = await two_with_a_token(world)
        before = record(world)
        world.endpoint.password = "another"
        seen = look(world)
        with pytest.raises(CredentialsRejectedError):
            await one.sign_in()
        left = record(world)
        assert [each for _, each in seen] == [before]
        assert left.latch is not None
        assert left == before._replace(latch=left.latch)
        await two.refresh()
        assert [sent.grant for sent in world.endpoint.log] == ["password", "password", "refresh_token"]

    played(scene)


def test_a_record_that_was_lost_is_put_back_by_a_failure() -> None:
    """With the token that this process holds, in doubt: the next one need not sign in before that ends."""

    async def scene(world: World) -> None:
        one = world.pod()
        token = await one.token()
        await asyncio.sleep(1)
        world.store.flush()
        world.endpoint.fault = lambda _grant: 503
        with pytest.raises(EndpointUnavailableError):
            await one.sign_in()
        left = record(world)
        assert left.pause is not None
        assert left == Record(1, token, True, token.client_id, pause=left.pause, server=SERVER)
        world.endpoint.fault = lambda _grant: None
        await asyncio.sleep(5)
        assert (await world.pod().token()).access_token == token.access_token

    played(scene)


@pytest.mark.parametrize("latch", [None, LATCH])
def test_what_a_store_has_lost_is_put_back_in_doubt_before_anything_is_sent(latch: Latch | None) -> None:
    """Another process may be refreshing. What has been noted of the credentials since stays there."""

    async def scene(world: World) -> None:
        pod = world.pod()
        token = await pod.token()
        await asyncio.sleep(1)
        world.store.flush()
        if latch is not None:
            key = key_of_manager(pod)
            world.store.records[key] = encode(Record(0, latch=latch), key)
        world.endpoint.fault = lambda _grant: 503
        seen = look(world)
        with pytest.raises(EndpointUnavailableError):
            await pod.refresh()
        noted = Record(1, token, in_doubt=True, client_id=token.client_id, latch=latch, server=SERVER)
        assert seen[0] == ("password", noted), "a sign-in under the same client_id, and no refresh"
        assert {sent.client_id for sent in world.endpoint.log} == {token.client_id}
        left = record(world)
        assert left == noted._replace(pause=left.pause)

    played(scene)


def test_what_is_put_back_is_the_token_that_is_sent() -> None:
    """Not one of this process's own that has yet to be saved, and is older than what it has adopted since."""

    async def scene(world: World) -> None:
        pod = world.pod()
        token = await pod.token()
        await asyncio.sleep(1)
        own = replace(token, access_token="own", refresh_token="own")
        storage_of(pod).keep(Record(1, own, client_id=own.client_id))
        world.store.flush()
        seen = look(world)
        await pod.refresh()
        assert seen == [("password", Record(1, token, in_doubt=True, client_id=token.client_id, server=SERVER))]

    played(scene)


def test_what_the_store_has_not_confirmed_is_put_above_what_it_may_take_yet() -> None:
    """One generation: the save under way may be that of the same token, without the note."""

    async def scene(world: World) -> None:
        pod = world.pod()
        world.store.saves_down = True
        token = await pod.token()
        await asyncio.sleep(0.1)
        world.store.saves_down = False
        seen = look(world)
        newer = await pod.refresh()
        await asyncio.sleep(0.1)
        ((grant, noted),) = seen
        assert (grant, noted.generation, noted.in_doubt, noted.server) == ("refresh_token", 2, True, SERVER)
        assert noted.token is not None
        assert noted.token.refresh_token == token.refresh_token
        assert newer.generation == record(world).generation == 3
        assert pod.statistics().unsaved == 0

    played(scene)


def test_what_the_store_has_not_confirmed_and_cannot_note_is_in_doubt_when_it_is_saved() -> None:
    """Without credentials it is sent all the same; the record says so, as soon as the store takes it."""

    async def scene(world: World) -> None:
        one = world.pod()
        await one.token()
        worker = world.pod(None)
        await worker.token()
        world.store.saves_down = True
        await worker.refresh()
        await save_now(worker)
        unsaved = storage_of(worker).unsaved
        assert unsaved is not None
        world.endpoint.latency = 1.0
        refreshing = asyncio.create_task(worker.refresh())
        await asyncio.sleep(0.5)
        world.store.saves_down = False
        await save_now(worker)
        assert record(world) == unsaved._replace(in_doubt=True, server=SERVER)
        await refreshing

    played(scene)


def test_who_finds_a_token_in_doubt_goes_above_its_successor() -> None:
    """Who wrote that may yet save it, one generation higher."""

    async def scene(world: World) -> None:
        _, two = await two_with_a_token(world)
        ((key, _),) = world.store.records.items()
        world.store.records[key] = encode(record(world)._replace(in_doubt=True), key)
        assert (await two.refresh()).generation == 3
        assert world.endpoint.count("refresh_token") == 0

    played(scene)


@pytest.mark.parametrize(
    ("password", "left"),
    [
        (None, None),
        (None, Record(2, client_id="a chain", logged_out_until=START_WALL + 86400)),
        ("right", Record(0, latch=LATCH)),
    ],
    ids=["no credentials", "no credentials after a logout", "credentials that rest"],
)
def test_what_says_nothing_new_is_not_written(password: str | None, left: Record | None) -> None:
    """Nobody can sign in, and why is known: there is nothing to tell the others, and no record to be made."""

    async def scene(world: World) -> None:
        pod = world.pod(password)
        key = key_of_manager(pod)
        if left is not None:
            world.store.records[key] = encode(left, key)
        with pytest.raises(LoginRequiredError if password is None else CredentialsRejectedError):
            await pod.token()
        assert world.store.counts["save"] == 0
        assert world.endpoint.log == []

    played(scene)


DEAD = RefreshTokenCredentials("dead", client_id="another chain", username=USER)


def test_what_was_handed_over_replaces_nothing_before_the_service_has_taken_it() -> None:
    """A sign-in by hand with a refresh token that is of no use: the chain that the fleet has goes on."""

    async def scene(world: World) -> None:
        one, worker = world.pod(), world.pod(credentials=DEAD)
        token = await one.token()
        await asyncio.sleep(1)
        assert (await worker.token()).access_token == token.access_token
        with pytest.raises(LoginRequiredError):
            await worker.sign_in()
        await asyncio.sleep(1)
        assert [sent.refresh_token for sent in world.endpoint.log[1:]] == ["dead"]
        assert (await worker.token()).access_token == token.access_token
        left = record(world)
        assert left.token == token
        assert not left.in_doubt
        await worker.refresh()
        assert (world.endpoint.count("password"), world.endpoint.reused) == (1, 0)

    played(scene)


def test_what_is_taken_for_one_use_is_noted_below_all_tokens() -> None:
    """Before it is used. That is no token's record, and the first one replaces it."""

    async def scene(world: World) -> None:
        world.endpoint.live["a chain"] = "handed-over"
        worker = world.pod(credentials=RefreshTokenCredentials("handed-over", client_id="a chain", username=USER))
        await worker.token()
        await asyncio.sleep(1)
        saved = named(world).saved
        assert (saved[0].generation, saved[0].token) == (0, None)
        assert all(len(each.tried) == 1 for each in saved)
        assert [sent.grant for sent in world.endpoint.log] == ["refresh_token"]

    played(scene)


def test_what_was_taken_for_one_use_and_not_used_is_taken_back() -> None:
    """The store has the note, and its answer was lost: nothing is sent, and another process may use it yet."""

    async def scene(world: World) -> None:
        world.endpoint.live["a chain"] = "handed-over"
        credentials = RefreshTokenCredentials("handed-over", client_id="a chain", username=USER)
        named(world).answers_lost = 1
        with pytest.raises(StoreError):
            await world.pod(credentials=credentials).token()
        assert [each.tried != () for each in named(world).saved] == [True, False]
        assert world.endpoint.log == []
        assert world.endpoint.accepts(await world.pod(credentials=credentials).token())

    played(scene)
