# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateUsage=false, reportUnknownParameterType=false
# pyright: reportPossiblyUnboundVariable=false, reportDeprecated=false
"""Other people's middlewares around ours, inside it, and per request; and which bodies go again, by one rule."""

import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import pytest
from multidict import MultiDict
from yarl import URL

from nexudus_async import TokenSession
from nexudus_async.testing import Fault, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until

from .conftest import Carry

ECHO = "/api/emulator/echo"
Handler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]


class Retry:
    """The retry middleware of aiohttp's cookbook, and what happens between two passes."""

    def __init__(self, between: Callable[[], Awaitable[object]] | None = None) -> None:
        self.between = between
        self.statuses: list[int] = []

    async def __call__(self, request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
        while True:
            response = await handler(request)
            self.statuses.append(response.status)
            if response.ok or len(self.statuses) == 3:
                return response
            if self.between is not None:
                await self.between()


async def own_authorization(request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
    request.headers["Authorization"] = "Bearer of-its-own"
    return await handler(request)


async def no_authorization(request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
    request.headers.pop("Authorization", None)
    return await handler(request)


class Both:
    """Sends through other people's middlewares: `before` ours and `after` it; or all of them on a `TokenSession`."""

    def __init__(self, session: TokenSession, url: str, *, ours: bool) -> None:
        self.session, self._url, self._ours = session, url, ours

    async def get(self, path: str, before: tuple[Any, ...] = (), after: tuple[Any, ...] = (), **options: Any) -> int:
        if self._ours:
            async with self.session.get(path, middlewares=(*before, *after), **options) as response:
                return response.status
        middlewares = (*before, self.session.middleware, *after)
        async with (
            aiohttp.ClientSession(URL(self._url + "/"), middlewares=middlewares) as http,
            http.get(path, **options) as response,
        ):
            return response.status


@pytest.fixture(params=[True, False], ids=["per request", "beside the middleware"])
async def both(request: pytest.FixtureRequest, connect: Connect) -> Both:
    session = await connect()
    await session.token()
    return Both(session, connect.emulator.url, ours=request.param)


def tokens(emulator: NexudusEmulator, path: str = CUSTOMER) -> list[str]:
    return [record.headers.get("Authorization", "") for record in emulator.requests if record.path == path]


async def test_a_401_in_a_later_pass_of_a_retry_is_refreshed_and_replayed(
    emulator: NexudusEmulator, both: Both
) -> None:
    """503, then 401: the pass handles its own."""
    emulator.fail(CUSTOMER, Fault.answer(503))
    retry = Retry(between=revoke(emulator))
    assert await both.get(CUSTOMER, before=(retry,)) == 200
    assert (emulator.sign_ins, emulator.renewals) == (1, 1)
    assert tokens(emulator)[-1] == (await both.session.token()).authorization


def revoke(emulator: NexudusEmulator) -> Callable[[], Awaitable[object]]:
    done: list[bool] = []

    async def once() -> None:
        if not done:
            done.append(True)
            emulator.revoke_access_tokens()

    return once


async def test_each_pass_of_a_retry_around_ours_carries_the_newest_token(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """It was refreshed while the retry slept."""
    session = await connect()
    old = await session.token()
    emulator.fail(CUSTOMER, Fault.answer(503), times=2)
    retry = Retry(between=session.refresh)
    async with (
        aiohttp.ClientSession(middlewares=(retry, session.middleware)) as http,
        http.get(emulator.url + CUSTOMER) as response,
    ):
        assert response.status == 200
    assert retry.statuses == [503, 503, 200]
    sent = tokens(emulator)
    assert sent[0] == old.authorization
    assert len(set(sent)) == 3
    assert sent[2] == (await session.token()).authorization


async def test_a_pass_after_a_replay_is_handled_too(emulator: NexudusEmulator, connect: Connect) -> None:
    """401, replayed, 503; then 401 again: two refreshes for two deaths."""
    session = await connect()
    await session.token()
    emulator.revoke_access_tokens()
    emulator.fail(CUSTOMER, Fault.answer(401, b"{}"))
    emulator.fail(CUSTOMER, Fault.answer(503))
    retry = Retry(between=revoke(emulator))
    async with (
        aiohttp.ClientSession(middlewares=(retry, session.middleware)) as http,
        http.get(emulator.url + CUSTOMER) as response,
    ):
        assert response.status == 200
    assert retry.statuses == [503, 200]
    assert emulator.renewals == 2


@pytest.mark.parametrize("other", [own_authorization, no_authorization])
async def test_a_401_to_what_another_middleware_has_put_there_is_not_ours(
    emulator: NexudusEmulator, both: Both, other: Any
) -> None:
    """Our header was not on the request: no refresh, no second request, and the caller sees the 401."""
    assert await both.get(CUSTOMER, after=(other,)) == 401
    assert len(tokens(emulator)) == 1
    assert len(emulator.token_requests) == 1
    assert both.session.statistics().rejections == 0


async def test_a_middleware_before_ours_that_sets_its_own_is_left_alone(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """It counts as the caller's, with what follows."""
    session = await connect()
    async with (
        aiohttp.ClientSession(middlewares=(own_authorization, session.middleware)) as http,
        http.get(emulator.url + CUSTOMER) as response,
    ):
        assert response.status == 401
    assert tokens(emulator) == ["Bearer of-its-own"]
    assert emulator.token_requests == []


async def test_two_of_ours_in_one_session_do_not_mistake_each_others_header(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """The inner one sends its own token, and its 401 is its own: the outer one refreshes nothing for it."""
    outer, inner = await connect(), await connect()
    await outer.token()
    await inner.token()
    emulator.revoke_access_tokens()
    async with (
        aiohttp.ClientSession(middlewares=(outer.middleware, inner.middleware)) as http,
        http.get(emulator.url + CUSTOMER) as response,
    ):
        assert response.status == 200
    assert outer.statistics().rejections == 0
    assert inner.statistics().renewals == 1


async def test_a_middleware_per_request_sees_the_token_and_may_change_other_things(
    emulator: NexudusEmulator, both: Both
) -> None:
    """As it would without us."""

    async def adds(request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
        request.headers["X-Seen"] = str("Authorization" in request.headers)
        return await handler(request)

    emulator.revoke_access_tokens()
    assert await both.get(CUSTOMER, after=(adds,)) == 200
    assert [record.headers["X-Seen"] for record in emulator.requests if record.path == CUSTOMER] == ["True"] * 2


async def test_a_middleware_that_answers_itself_refreshes_nothing(emulator: NexudusEmulator, both: Both) -> None:
    """A cache that raises, say: nothing was sent."""

    async def raises(request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
        raise aiohttp.ClientConnectionError("not today")

    with pytest.raises(aiohttp.ClientConnectionError, match="not today"):
        await both.get(CUSTOMER, after=(raises,))
    assert len(emulator.token_requests) == 1


async def chunks() -> AsyncIterator[bytes]:
    yield b"a=1"


def generator() -> Iterator[bytes]:
    yield b"a=1"


def form_with_a_file() -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(b"content"), filename="f")
    return form


AGAIN: dict[str, Callable[[], Any]] = {
    "str": lambda: "a=1",
    "bytes": lambda: b"a=1",
    "bytearray": lambda: bytearray(b"a=1"),
    "memoryview": lambda: memoryview(b"a=1"),
    "memoryview of a part": lambda: memoryview(b"xa=1x")[1:4],
    "empty": lambda: b"",
    "dict": lambda: {"a": "1", "b": "2"},
    "list of pairs": lambda: [("a", "1"), ("a", "2")],
    "tuple of pairs": lambda: (("a", "1"), ("b", "2")),
    "MultiDict": lambda: MultiDict([("a", "1"), ("a", "2")]),
}
NOT_AGAIN: dict[str, Callable[[], Any]] = {
    "async generator": chunks,
    "file": lambda: io.BytesIO(b"a=1"),
    "file with a name": lambda: {"file": io.BytesIO(b"a=1")},
    "list with a file": lambda: [("file", io.BytesIO(b"a=1"))],
    "form with a file": form_with_a_file,
}


@pytest.mark.parametrize("make", AGAIN.values(), ids=AGAIN)
async def test_what_can_go_again_goes_again_by_either_way(
    emulator: NexudusEmulator, carry: Carry, make: Callable[[], Any]
) -> None:
    """The same bytes; with a 401 and without."""
    carrier = await carry()
    await carrier.session.token()
    first = await (await carrier.request("POST", ECHO, data=make())).json()
    emulator.revoke_access_tokens()
    response = await carrier.request("POST", ECHO, data=make())
    assert (response.status, await response.json()) == (200, first)
    assert [record.status for record in emulator.requests if record.path == ECHO] == [200, 401, 200]


@pytest.mark.parametrize("make", NOT_AGAIN.values(), ids=NOT_AGAIN)
async def test_what_cannot_go_again_does_not_by_either_way(
    emulator: NexudusEmulator, carry: Carry, make: Callable[[], Any]
) -> None:
    """The 401 is the caller's; the next call has a new token."""
    carrier = await carry()
    await carrier.session.token()
    emulator.revoke_access_tokens()
    assert await carrier.status("POST", ECHO, data=make()) == 401
    await until(lambda: carrier.session.statistics().renewals == 1)
    assert await carrier.status("POST", ECHO, data=make()) == 200
    assert [record.status for record in emulator.requests if record.path == ECHO] == [401, 200]
