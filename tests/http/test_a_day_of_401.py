"""A day of 401s, hour by hour: forbidden paths, tokens that die in between, outages. What it costs in token requests.

In virtual time, with the middleware and an API that is a function.
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from multidict import CIMultiDict
from yarl import URL

from nexudus_async import BearerMiddleware, NexudusAuthError, TokenManager
from tests.fleet.virtual import World, play

ORIGIN = "https://spaces.nexudus.com"
DAY = 86400.0
Api = Callable[[str, bool], int]
"""Given a path, and whether the token is good: the status."""


class Client:
    """Sends GET requests through the middleware of one manager."""

    def __init__(self, world: World, manager: TokenManager, api: Api) -> None:
        self._world, self._api = world, api
        self._middleware = BearerMiddleware(manager, ORIGIN)
        self.sent = 0
        self.delays: dict[str, float] = {}
        """Seconds that a path takes, on the way there and on the way back."""

    async def get(self, path: str) -> int:
        """Return the status, or 0 for an error of ours."""
        request: Any = SimpleNamespace(
            method="GET", url=URL(ORIGIN + path), headers=CIMultiDict(), body=None, session=SimpleNamespace()
        )
        try:
            response = await self._middleware(request, cast(Any, self._handle))
        except NexudusAuthError:
            return 0
        return response.status

    async def _handle(self, request: Any) -> Any:
        self.sent += 1
        delay = self.delays.get(request.url.path, 0.0)
        await asyncio.sleep(delay)
        access = request.headers["Authorization"].removeprefix("Bearer ")
        good = self._world.endpoint.access.get(access, -1.0) > self._world.now()
        await asyncio.sleep(delay)
        status = self._api(request.url.path, good)
        return SimpleNamespace(status=status, release=lambda: None, close=lambda: None)


def forbidding(*prefixes: str) -> Api:
    return lambda path, good: 401 if not good or path.startswith(prefixes) else 200


def day(scene: Callable[[World, Client], Awaitable[None]], api: Api, *, lifetime: float = 7 * DAY) -> World:
    async def main(world: World) -> None:
        manager = world.pod(shared=False)
        await manager.token()
        await scene(world, Client(world, manager, api))

    return play(main, lifetime=lifetime)


def requests(world: World) -> int:
    return len(world.endpoint.log) - 1


@pytest.mark.parametrize("busy", [False, True], ids=["nothing else", "beside a path that works"])
def test_five_hundred_forbidden_things_of_one_kind_cost_a_few_refreshes_a_day(busy: bool) -> None:
    """`/x/17` and `/x/18` are one path; it rests for a minute, growing to a quarter of an hour."""

    async def scene(world: World, client: Client) -> None:
        for number in range(int(DAY / 10)):
            await world.until(10.0 * (number + 1))
            assert await client.get(f"/x/{number % 500}") == 401
            if busy:
                assert await client.get("/ok") == 200

    assert requests(day(scene, forbidding("/x/"))) <= 4 + DAY / 900


def test_five_hundred_forbidden_things_of_five_kinds_cost_no_more_than_one_a_minute() -> None:
    """And soon one a quarter of an hour for each kind."""

    async def scene(world: World, client: Client) -> None:
        for number in range(int(DAY / 10)):
            await world.until(10.0 * (number + 1))
            assert await client.get(f"/{'abcde'[number % 5]}/{number % 500}/details") == 401

    api = forbidding("/a/", "/b/", "/c/", "/d/", "/e/")
    assert requests(day(scene, api)) <= 5 * (4 + DAY / 900)


def test_names_instead_of_numbers_force_one_a_minute_at_the_most() -> None:
    """A name is no number: each path counts for itself, and all together."""

    async def scene(world: World, client: Client) -> None:
        for number in range(6 * 360):
            await world.until(10.0 * (number + 1))
            assert await client.get(f"/x/name-{number}") == 401

    assert requests(day(scene, forbidding("/x/"))) <= 1 + 6 * 60


def test_a_token_that_dies_between_refresh_and_replay_is_no_permission() -> None:
    """Hundreds of requests have succeeded with it meanwhile: that path is not at 401 for a minute."""

    async def scene(world: World, client: Client) -> None:
        client.delays = {"/slow": 0.5, "/ok": 0.05}
        for _ in range(50):
            world.endpoint.access.clear()
            slow = asyncio.create_task(client.get("/slow"))
            await asyncio.sleep(1.2)  # refused, refreshed, and its replay under way
            statuses = await asyncio.gather(*(client.get("/ok") for _ in range(5)))
            assert statuses == [200] * 5
            world.endpoint.access.clear()
            assert await slow == 401
            assert await client.get("/slow") == 200
            assert await client.get("/ok") == 200
            await asyncio.sleep(100)

    day(scene, forbidding())


@pytest.mark.parametrize(("later", "forced"), [(0.0, 0), (58.9, 0), (59.1, 1)])
def test_the_next_answer_elsewhere_tells_a_permission_from_a_death(later: float, forced: int) -> None:
    """The new token has worked elsewhere before its replay was refused, and does so again: that path rests a minute."""

    async def scene(world: World, client: Client) -> None:
        client.delays = {"/forbidden": 0.5}
        first = asyncio.create_task(client.get("/forbidden"))
        await asyncio.sleep(1.2)  # refused, refreshed, and its replay under way
        assert await client.get("/ok") == 200
        assert await first == 401
        assert await client.get("/ok") == 200
        await asyncio.sleep(later)
        before = requests(world)
        assert await client.get("/forbidden") == 401  # a second after it was sent
        assert requests(world) - before == forced

    day(scene, forbidding("/forbidden"))


def test_a_forbidden_path_beside_thousands_that_work_is_found_out() -> None:
    """Its replay is refused when the new token has worked elsewhere: the next answer elsewhere tells which it was."""

    async def scene(world: World, client: Client) -> None:
        client.delays = {"/forbidden": 0.5}

        async def poll(path: str, status: int, every: float) -> None:
            while world.now() < 3600:
                assert await client.get(path) == status
                await asyncio.sleep(every)

        await asyncio.gather(poll("/forbidden", 401, 3), *(poll(f"/ok/{number}", 200, 0.3) for number in range(5)))

    assert requests(day(scene, forbidding("/forbidden"))) <= 8


def test_a_day_of_deaths_costs_two_requests_each() -> None:
    """Revoked every ten minutes, with a forbidden path polled: each death one refresh or sign-in, soon."""
    served = failed = 0

    async def scene(world: World, client: Client) -> None:
        nonlocal served, failed
        deaths = 0
        while world.now() < DAY / 4:
            await asyncio.sleep(5)
            if world.now() > 600 * (deaths + 1):
                deaths += 1
                world.endpoint.revoke(access=True)
            await client.get("/forbidden")
            if await client.get("/ok") == 200:
                served += 1
            else:
                failed += 1

    world = day(scene, forbidding("/forbidden"))
    assert failed <= 0.02 * served
    assert requests(world) <= 2 * 36 + 4 + DAY / 4 / 900 + 40


def test_an_outage_with_a_forbidden_path_is_no_storm() -> None:
    """The endpoint is down for six hours; one path is forbidden, the others work."""

    async def scene(world: World, client: Client) -> None:
        world.endpoint.fault = lambda _grant: 503
        while world.now() < DAY / 4:
            await asyncio.sleep(2)
            assert await client.get("/forbidden") in (0, 401)
            assert await client.get("/ok") == 200

    assert requests(day(scene, forbidding("/forbidden"))) <= 40
