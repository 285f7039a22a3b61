"""Headers and cookies that can be read once only, and every other shape: all arrive, and the replay sends the same."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy, istr

from nexudus_async.testing import Fault, NexudusEmulator
from tests.conftest import Connect

PATH = "/echoed"
WEBSOCKET = "/api/emulator/websocket"
Pairs = list[tuple[str, str]]


def generator(pairs: Pairs) -> Iterator[tuple[str, str]]:
    yield from pairs


class Once:
    """An iterable that is no sequence, no mapping and no iterator."""

    def __init__(self, pairs: Pairs) -> None:
        self._left: Iterator[tuple[str, str]] = iter(pairs)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return self._left


SHAPES: dict[str, Callable[[Pairs], Any]] = {
    "iterator": iter,
    "generator": generator,
    "generator expression": lambda pairs: (pair for pair in pairs),
    "zip": lambda pairs: zip(*zip(*pairs, strict=True), strict=True),
    "map": lambda pairs: map(tuple, pairs),
    "filter": lambda pairs: filter(None, pairs),
    "iterable": Once,
    "dict view": lambda pairs: dict(pairs).items(),
    "list": list,
    "tuple": tuple,
    "list of lists": lambda pairs: [list(pair) for pair in pairs],
    "set": frozenset,
    "dict": dict,
    "MultiDict": MultiDict,
    "MultiDictProxy": lambda pairs: MultiDictProxy(MultiDict(pairs)),
    "CIMultiDict": CIMultiDict,
    "CIMultiDictProxy": lambda pairs: CIMultiDictProxy(CIMultiDict(pairs)),
    "CIMultiDict's view": lambda pairs: CIMultiDict(pairs).items(),
    "istr": lambda pairs: {istr(name): value for name, value in pairs},
}
SHAPE = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
HEADERS: Pairs = [("X-A", "1"), ("X-B", "two"), ("x-c", "drei")]
COOKIES: Pairs = [("a", "1"), ("b", "two")]


class Seen:
    """What arrives at one path."""

    def __init__(self, emulator: NexudusEmulator) -> None:
        self.requests: list[tuple[CIMultiDictProxy[str], Mapping[str, str]]] = []
        emulator.route("*", PATH, self.answer)

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.headers, dict(request.cookies)))
        return web.Response()

    def check(self, times: int, headers: Iterable[tuple[str, str]] = HEADERS, cookies: Pairs | None = None) -> None:
        assert len(self.requests) == times
        for arrived, baked in self.requests:
            for name, value in headers:
                assert arrived.getall(name) == [value]
            if cookies is not None:
                assert baked == dict(cookies)


@pytest.fixture
def seen(emulator: NexudusEmulator) -> Seen:
    return Seen(emulator)


@SHAPE
async def test_headers_of_every_shape_arrive_beside_ours(connect: Connect, seen: Seen, shape: Any) -> None:
    """They used to be swallowed where they could be read only once."""
    session = await connect()
    async with session.get(PATH, headers=shape(HEADERS)) as response:
        assert response.status == 200
    seen.check(1)
    token = await session.token()
    assert seen.requests[0][0].getall("Authorization") == [token.authorization]


@SHAPE
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_the_replay_sends_the_same(
    emulator: NexudusEmulator, connect: Connect, seen: Seen, shape: Any, method: str
) -> None:
    """Headers and cookies, after a 401."""
    session = await connect()
    old = await session.token()
    emulator.fail(PATH, Fault.answer(401))
    options: dict[str, Any] = {"headers": shape(HEADERS), "cookies": dict(COOKIES)}
    async with session.request(method, PATH, **options) as response:
        assert response.status == 200
    first, second = [record for record in emulator.requests if record.path == PATH]
    for name, value in HEADERS:
        assert first.headers[name] == second.headers[name] == value
    assert first.headers["Cookie"] == second.headers["Cookie"] == "a=1; b=two"
    assert second.headers["Authorization"] == (await session.token()).authorization != old.authorization


@SHAPE
async def test_a_throttled_request_sends_the_same_again(
    emulator: NexudusEmulator, connect: Connect, seen: Seen, shape: Any
) -> None:
    """As often as it takes."""
    connect.clock.autojump = True
    session = await connect()
    emulator.fail(PATH, Fault.throttled(1), times=3)
    async with session.get(PATH, headers=shape(HEADERS)) as response:
        assert response.status == 200
    records = [record for record in emulator.requests if record.path == PATH]
    assert len(records) == 4
    assert all(record.headers[name] == value for record in records for name, value in HEADERS)


@SHAPE
@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
async def test_an_authorization_of_the_callers_own_is_found_in_every_shape(
    emulator: NexudusEmulator, connect: Connect, seen: Seen, shape: Any, name: str
) -> None:
    """And wins: no sign-in, no replay, and its 401 is the caller's."""
    session = await connect()
    pairs = [*HEADERS, (name, "Basic b3du")]
    emulator.fail(PATH, Fault.answer(401))
    async with session.get(PATH, headers=shape(pairs)) as response:
        assert response.status == 401
    (record,) = [record for record in emulator.requests if record.path == PATH]
    assert record.headers["Authorization"] == "Basic b3du"
    assert all(record.headers[each] == value for each, value in HEADERS)
    assert emulator.token_requests == []


@SHAPE
async def test_cookies_of_every_shape_arrive_and_are_sent_again(
    emulator: NexudusEmulator, connect: Connect, seen: Seen, shape: Any
) -> None:
    """aiohttp takes pairs for cookies, too."""
    session = await connect()
    emulator.fail(PATH, Fault.answer(401))
    async with session.get(PATH, cookies=shape(COOKIES)) as response:
        assert response.status == 200
    for record in [record for record in emulator.requests if record.path == PATH]:
        assert sorted(record.headers["Cookie"].split("; ")) == ["a=1", "b=two"]


@SHAPE
async def test_a_foreign_origin_gets_them_too(connect: Connect, shape: Any) -> None:
    """Without our header."""
    session = await connect()
    async with NexudusEmulator() as other:
        seen = Seen(other)
        other.route("GET", PATH, seen.answer, authenticated=False)
        async with session.get(other.url + PATH, headers=shape(HEADERS), cookies=shape(COOKIES)) as response:
            assert response.status == 200
    seen.check(1, cookies=COOKIES)
    assert "Authorization" not in seen.requests[0][0]


@SHAPE
async def test_a_websocket_gets_them_and_its_replay_the_same(
    emulator: NexudusEmulator, connect: Connect, shape: Any
) -> None:
    """A handshake that was refused with 401."""
    session = await connect()
    await session.token()
    emulator.revoke_access_tokens()
    async with session.ws_connect(WEBSOCKET, headers=shape(HEADERS)) as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
    records = [record for record in emulator.requests if record.path == WEBSOCKET]
    assert len(records) == 2
    assert all(record.headers[name] == value for record in records for name, value in HEADERS)


@SHAPE
async def test_a_websockets_own_authorization_is_found_too(
    emulator: NexudusEmulator, connect: Connect, shape: Any
) -> None:
    """Its refusal is the caller's."""
    session = await connect()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await session.ws_connect(WEBSOCKET, headers=shape([*HEADERS, ("Authorization", "Basic b3du")]))
    assert refused.value.status == 401
    assert len([record for record in emulator.requests if record.path == WEBSOCKET]) == 1
    assert emulator.token_requests == []


async def test_the_protocols_of_a_websocket_are_offered_again(emulator: NexudusEmulator, connect: Connect) -> None:
    """An iterator of them, too."""
    session = await connect()
    await session.token()
    emulator.revoke_access_tokens()
    protocols: Any = iter(["one", "two"])
    async with session.ws_connect(WEBSOCKET, protocols=protocols):
        pass
    records = [record for record in emulator.requests if record.path == WEBSOCKET]
    assert [record.headers["Sec-WebSocket-Protocol"] for record in records] == ["one,two"] * 2


async def test_headers_that_are_to_be_skipped_are_skipped_again(
    emulator: NexudusEmulator, connect: Connect, seen: Seen
) -> None:
    """`skip_auto_headers` may be an iterator."""
    session = await connect()
    emulator.fail(PATH, Fault.answer(401))
    async with session.get(PATH, skip_auto_headers=iter(["User-Agent", "Accept"])) as response:
        assert response.status == 200
    records = [record for record in emulator.requests if record.path == PATH]
    assert len(records) == 2
    assert not any("User-Agent" in record.headers or "Accept" in record.headers for record in records)


async def test_several_values_of_one_name_stay_several(connect: Connect, seen: Seen) -> None:
    """Nothing is folded into one."""
    session = await connect()
    pairs = [("X-A", "1"), ("X-A", "2")]
    shapes: list[Any] = [pairs, iter(pairs), MultiDict(pairs)]
    for headers in shapes:
        async with session.get(PATH, headers=headers) as response:
            assert response.status == 200
    assert all(arrived.getall("X-A") == ["1", "2"] for arrived, _ in seen.requests)


async def test_the_callers_own_object_is_never_changed(emulator: NexudusEmulator, connect: Connect, seen: Seen) -> None:
    """Whoever keeps one dict for all requests finds no token in it."""
    session = await connect()
    emulator.fail(PATH, Fault.answer(401))
    kept: list[Any] = [dict(HEADERS), MultiDict(HEADERS), CIMultiDict(HEADERS), list(HEADERS)]
    for headers in kept:
        async with session.get(PATH, headers=headers) as response:
            assert response.status == 200
    assert [list(CIMultiDict(headers).items()) for headers in kept] == [HEADERS] * len(kept)
