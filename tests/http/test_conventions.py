"""A `TokenSession` is used as an aiohttp session is, borrowed or own, made anywhere."""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import types
import warnings
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from nexudus_async import ConfigurationError, PasswordCredentials, SessionClosedError, TokenSession
from nexudus_async._http.request import RequestContext
from nexudus_async._http.shared import KNOWN_URLS
from nexudus_async.testing import Fault, NexudusEmulator
from tests.conftest import CUSTOMER, Connect
from tests.inside import goes_with_the_token, session_of, token_session_of

ECHO = "/api/emulator/echo"


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "head", "options"])
async def test_every_method_can_be_awaited_and_entered(connect: Connect, method: str) -> None:
    """`async with session.get(…)` and `await session.get(…)`, for each method."""
    session = await connect()
    send = getattr(session, method)
    async with send(ECHO) as response:
        assert response.status == 200
        assert response.method == method.upper()
    response = await send(ECHO)
    assert response.status == 200
    response.release()


async def test_a_request_can_be_made_a_task(connect: Connect) -> None:
    """What `session.get` returns is a coroutine, as aiohttp's."""
    session = await connect()
    response = await asyncio.create_task(session.get(CUSTOMER))
    assert response.status == 200
    response.release()


def test_a_request_can_be_driven_by_another_loop_than_asyncios() -> None:
    """It passes on what is sent into it."""

    @types.coroutine
    def exchange() -> Generator[str, str, str]:
        return (yield "asked")

    async def send() -> Any:
        return await exchange()

    request = RequestContext(send())
    assert request.send(None) == "asked"
    with pytest.raises(StopIteration) as stop:
        request.send("answered")
    assert stop.value.value == "answered"


async def test_the_response_hears_how_its_block_ended(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """As without us; a subclass of a response, or a mock, may want to know."""
    ends: list[object] = []

    async def leave(self: aiohttp.ClientResponse, *how: object) -> None:
        ends.append(how)
        self.release()

    monkeypatch.setattr(aiohttp.ClientResponse, "__aexit__", leave)
    session = await connect()
    error = RuntimeError()
    with pytest.raises(RuntimeError):
        async with session.get(CUSTOMER):
            raise error
    assert ends[-1] == (RuntimeError, error, error.__traceback__)


async def test_urls_are_remembered_up_to_a_number(connect: Connect) -> None:
    """A job that reads a million things does not keep a million URLs."""
    session = await connect()
    for number in range(KNOWN_URLS + 10):
        assert goes_with_the_token(session, f"/api/spaces/coworkers/{number}")
    known: Any = session._destination  # pyright: ignore[reportPrivateUsage]
    assert known.cache_info().currsize == KNOWN_URLS


async def test_keywords_reach_aiohttp(connect: Connect) -> None:
    """The same keywords as aiohttp's."""
    session = await connect()
    async with session.request("post", ECHO, params={"a": "b c"}, json={"x": 1}, headers={"X-Y": "z"}) as response:
        assert await response.json() == {"Method": "POST", "Query": "a=b c", "Body": '{"x": 1}'}
    assert connect.emulator.requests[-1].headers["X-Y"] == "z"


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "head", "options"])
async def test_keywords_of_every_method_reach_aiohttp(connect: Connect, method: str) -> None:
    """None is lost on its way."""
    session = await connect()
    async with getattr(session, method)(ECHO, params={"a": "b"}, headers={"X-Y": "z"}) as response:
        assert response.url.query_string == "a=b"
    assert connect.emulator.requests[-1].headers["X-Y"] == "z"


@pytest.mark.parametrize(
    ("method", "options", "status"),
    [("head", {}, 302), ("head", {"allow_redirects": True}, 200), ("get", {}, 200), ("options", {}, 200)],
)
async def test_head_follows_a_redirect_only_when_told_to(
    connect: Connect, method: str, options: dict[str, Any], status: int
) -> None:
    """As in aiohttp, where the others follow."""
    session = await connect()
    connect.emulator.fail("/moved", Fault.redirect(ECHO, 302))
    async with getattr(session, method)("/moved", **options) as response:
        assert response.status == status


async def test_raise_for_status_of_a_request_is_judged_on_the_final_response(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """A 401 that a replay repairs raises nothing; one that stays does."""
    session = await connect()
    await session.token()
    emulator.revoke_access_tokens()
    async with session.get(CUSTOMER, raise_for_status=True) as response:
        assert response.status == 200
    with pytest.raises(aiohttp.ClientResponseError) as refused:
        await session.get("/api/emulator/unauthorized", raise_for_status=True)
    assert refused.value.status == 401


async def test_raise_for_status_may_be_a_coroutine_function(connect: Connect) -> None:
    """It is called with the final response, once."""
    seen: list[int] = []

    async def judge(response: aiohttp.ClientResponse) -> None:
        seen.append(response.status)

    session = await connect()
    async with session.get("/api/emulator/unauthorized", raise_for_status=judge):
        pass
    assert seen == [401]


async def test_raise_for_status_of_a_borrowed_session_applies_and_can_be_overruled(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """As in aiohttp."""
    async with aiohttp.ClientSession(raise_for_status=True) as borrowed:
        session = await connect(client_session=borrowed)
        await session.token()
        emulator.revoke_access_tokens()
        async with session.get(CUSTOMER) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientResponseError):
            await session.get("/api/emulator/forbidden")
        async with session.get("/api/emulator/forbidden", raise_for_status=False) as response:
            assert response.status == 403


async def test_a_borrowed_session_is_left_open(connect: Connect) -> None:
    """It belongs to someone else."""
    async with aiohttp.ClientSession() as borrowed:
        session = await connect(client_session=borrowed)
        async with session.get(CUSTOMER) as response:
            assert response.status == 200
        await session.close()
        assert not borrowed.closed


async def test_token_requests_do_not_pass_through_a_borrowed_sessions_middleware(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """A middleware that asks for the token would wait for itself."""

    async def asks(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        await session.token()
        response: aiohttp.ClientResponse = await handler(request)
        return response

    async with aiohttp.ClientSession(middlewares=(asks,)) as borrowed:
        session = await connect(client_session=borrowed)
        async with asyncio.timeout(5), session.get(CUSTOMER) as response:
            assert response.status == 200


async def test_each_token_request_of_an_own_session_has_a_connection_of_its_own(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """One that the service has closed meanwhile looks like a lost answer, and a lost answer costs a refresh token."""
    session = await connect()
    for _ in range(3):
        await session.refresh()
    assert {request.headers["Connection"] for request in emulator.token_requests} == {"close"}


async def test_token_requests_do_not_starve_behind_a_borrowed_sessions_full_pool(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """Someone reads a long answer on the only connection; the token is had all the same."""
    hold = emulator.hold("/slow")
    emulator.route("GET", "/slow", lambda request: _ok())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as borrowed:
        session = await connect(client_session=borrowed)
        await session.token()
        occupying = asyncio.create_task(session.get("/slow"))
        await hold.wait()
        async with asyncio.timeout(5):
            assert await session.refresh()
        hold.release()
        (await occupying).release()


async def _ok() -> web.Response:
    return web.Response()


async def test_tls_settings_of_a_borrowed_session_apply_to_token_requests(connect: Connect) -> None:
    """The connector's own resolver, for example, is asked for the token host too."""

    class Resolver(AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
            return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": family, "proto": 0, "flags": 0}]

        async def close(self) -> None:
            pass

    connector = aiohttp.TCPConnector(resolver=Resolver())
    async with aiohttp.ClientSession(connector=connector) as borrowed:
        url = connect.emulator.url.replace("127.0.0.1", "spaces.test")
        session = await connect(client_session=borrowed, base_url=url, allow_insecure_http=True)
        async with session.get(CUSTOMER) as response:
            assert response.status == 200


def test_a_session_can_be_made_and_closed_without_an_event_loop() -> None:
    """At import time, in a synchronous factory."""
    session = TokenSession(PasswordCredentials("ops@example.com", "pw"))
    assert not session.closed
    asyncio.run(session.close())
    assert session.closed


def test_use_from_another_event_loop_is_an_error_at_once() -> None:
    """Its connections and its refresh belong to the first loop: no hang, no strange error from below."""

    async def first() -> TokenSession:
        async with NexudusEmulator() as emulator:
            session = TokenSession(PasswordCredentials(emulator.username, emulator.password), base_url=emulator.url)
            async with session.get(CUSTOMER) as response:
                assert response.status == 200
        return session

    async def second() -> None:
        for use in (session.token, session.refresh, lambda: session.get(CUSTOMER)):
            with pytest.raises(ConfigurationError, match="another event loop"):
                await use()
        await session.close()

    session = asyncio.run(first())
    asyncio.run(second())


def test_so_it_is_where_no_token_was_needed() -> None:
    """Requests to other origins have used it, and its connections are the first loop's all the same."""

    async def first() -> TokenSession:
        session = TokenSession(PasswordCredentials("ops@example.com", "pw"))
        async with NexudusEmulator() as elsewhere, session.get(elsewhere.url) as response:
            assert response.status == 200
        return session

    async def second() -> None:
        with pytest.raises(ConfigurationError, match="another event loop"):
            await session.get("http://127.0.0.1:9/")
        await session.close()

    session = asyncio.run(first())
    asyncio.run(second())


async def test_use_from_a_loop_in_another_thread_is_an_error_at_once(connect: Connect) -> None:
    """Though the first loop runs, and the token is fresh; be it only the token that was used there."""
    session = await connect()
    await session.token()

    async def elsewhere() -> None:
        for use in (session.token, session.refresh, lambda: session.get(CUSTOMER)):
            with pytest.raises(ConfigurationError, match="another event loop"):
                await use()

    await asyncio.to_thread(asyncio.run, elsewhere())


async def test_nor_may_it_join_a_sign_in_that_is_under_way(emulator: NexudusEmulator, connect: Connect) -> None:
    """What wakes those who wait belongs to the first loop."""
    session = await connect()

    async def elsewhere() -> None:
        with pytest.raises(ConfigurationError, match="another event loop"):
            await asyncio.wait_for(session.token(), 5)

    with emulator.hold("token") as hold:
        waiter = asyncio.create_task(session.token())
        await hold.wait()
        await asyncio.to_thread(asyncio.run, elsewhere())
        assert session.statistics().waiting == 1
    assert (await waiter).generation == 1


def _child(session: TokenSession, result: Any, method: str = "token") -> None:
    async def use() -> str:
        try:
            await getattr(session, method)()
        except ConfigurationError as exc:
            return str(exc)
        return "served"

    result.send(asyncio.run(use()))
    os._exit(0)


@pytest.mark.fleet
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["token", "refresh", "logout", "close"])
async def test_use_after_a_fork_is_an_error_at_once(connect: Connect, method: str) -> None:
    """The refresh and the sockets are the parent's."""
    session = await connect()
    await session.token()
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_child, args=(session, there, method))
    child.start()
    message = await asyncio.to_thread(lambda: here.recv() if here.poll(10) else "hung")
    child.join(10)
    assert "fork" in message
    async with asyncio.timeout(5), session.get(CUSTOMER) as response:  # the parent's connections are as they were
        assert response.status == 200


@pytest.mark.fleet
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("signing_in", [False, True], ids=["fresh", "signing in"])
async def test_a_fork_in_the_middle_of_a_coroutine_is_found_out(
    emulator: NexudusEmulator, connect: Connect, signing_in: bool
) -> None:
    """The child goes on in the same coroutine, without a running loop. A sign-in under way there never ends."""
    session = await connect()
    with emulator.hold("token") if signing_in else contextlib.nullcontext() as hold:
        waiter = asyncio.create_task(session.token())
        await (hold.wait() if hold is not None else waiter)
        for use in (session.token, lambda: session.get(CUSTOMER), lambda: session.get("http://127.0.0.1:9/")):
            await _found_out_in_a_child(session, use)
    await waiter


async def _found_out_in_a_child(session: TokenSession, use: Callable[[], Coroutine[Any, Any, object]]) -> None:
    child = os.fork()
    if not child:
        found = 1
        with contextlib.suppress(BaseException):
            try:
                use().send(None)
            except ConfigurationError:
                found = int(session.manager.current() is not None)
        os._exit(found)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert status == 0


async def test_another_thread_cannot_close_a_session_in_use(connect: Connect) -> None:
    """It would cut the connections under the loop that owns them. Once that loop has ended, anyone may."""
    session = await connect()
    await session.token()
    with pytest.raises(ConfigurationError, match="another event loop"):
        await asyncio.to_thread(lambda: asyncio.run(session.close()))
    assert not session.closed
    async with session.get(CUSTOMER) as response:
        assert response.status == 200


def test_a_session_whose_loop_has_ended_can_be_closed() -> None:
    """In another one, as a clean-up at the end of a program does."""

    async def use() -> TokenSession:
        async with NexudusEmulator() as emulator:
            credentials = PasswordCredentials(emulator.username, emulator.password)
            session = TokenSession(credentials, base_url=emulator.url)
            async with session.get(CUSTOMER) as response:
                assert response.status == 200
            return session

    session = asyncio.run(use())
    asyncio.run(session.close())
    assert session.closed


@pytest.mark.fleet
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
async def test_a_session_made_before_a_fork_can_be_used_after_it(connect: Connect) -> None:
    """As where a server imports an application, and forks its workers: it belongs to nobody before its first use."""
    session = await connect()
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_child, args=(session, there))
    child.start()
    message = await asyncio.to_thread(lambda: here.recv() if here.poll(10) else "hung")
    child.join(10)
    assert message == "served"


async def test_use_after_close_is_an_error_at_once(connect: Connect) -> None:
    """By name, and without a request."""
    session = await connect()
    await session.token()
    await session.close()
    for use in (session.token, session.refresh, session.logout, lambda: session.get(CUSTOMER)):
        with pytest.raises(SessionClosedError):
            await use()
    assert session.manager.current() is None


async def test_a_session_dropped_without_closing_says_so() -> None:
    """`ResourceWarning`, naming the session."""
    async with NexudusEmulator() as emulator:
        session = TokenSession(PasswordCredentials(emulator.username, emulator.password), base_url=emulator.url)
        await session.token()
        for _ in range(5):  # the flight lets go of the session when it has ended
            await asyncio.sleep(0)
        inner = token_session_of(session)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del session
            gc.collect()
            said = [str(warning.message) for warning in caught]
            caught.clear()  # the warning holds the session, and that the rest
        await inner.close()  # or it would say so, too, at another time
        assert any("unclosed <TokenSession" in text for text in said)


async def test_a_session_that_only_called_another_origin_says_so_too() -> None:
    """It has asked for no token, but there is a connection to close."""
    async with NexudusEmulator() as other:
        session = TokenSession(PasswordCredentials("nobody", "nothing"))
        inner = session_of(session)
        async with session.get(other.url + CUSTOMER) as response:
            assert response.status == 401
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del session
            gc.collect()
            said = [str(warning.message) for warning in caught]
            caught.clear()
        await inner.close()
    assert any("unclosed <TokenSession" in text for text in said)


async def test_an_unusable_url_is_aiohttps_error(connect: Connect) -> None:
    """The same error as without us."""
    session = await connect()
    with pytest.raises(aiohttp.InvalidURL):
        await session.get("http://[broken")


async def test_a_timeout_covers_each_sending_and_cancels_safely(emulator: NexudusEmulator, connect: Connect) -> None:
    """aiohttp's `timeout=`, and `asyncio.timeout` around the call."""
    session = await connect()
    await session.token()
    with emulator.hold(CUSTOMER):
        with pytest.raises(TimeoutError):
            await session.get(CUSTOMER, timeout=aiohttp.ClientTimeout(total=0.01))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await session.get(CUSTOMER)
    async with session.get(CUSTOMER) as response:
        assert response.status == 200


async def test_a_retried_sign_in_is_told_from_a_refused_one(emulator: NexudusEmulator, connect: Connect) -> None:
    """A hiccup of the token endpoint is not seen by anyone."""
    connect.clock.autojump = True
    session = await connect()
    emulator.fail("token", Fault.dropped())
    emulator.fail("token", Fault.answer(502))
    async with session.get(CUSTOMER) as response:
        assert response.status == 200
    assert len(emulator.token_requests) == 3


async def test_repr_is_a_status_line(connect: Connect) -> None:
    """Who, where, and how the token does."""
    session = await connect(client_id="worker-1")
    url = connect.emulator.url
    assert repr(session) == f"<TokenSession ops@example.com at {url}: <TokenManager empty>>"
    await session.token()
    assert repr(session.manager) == "<TokenManager fresh, generation 1, 3600 s left>"
