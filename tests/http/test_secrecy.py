"""No secret in anything that a person or a log collector may see: everything is collected, then searched."""

import asyncio
import copy
import logging
import pickle
import traceback
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote_plus

import aiohttp
import pytest

from nexudus_async import PasswordCredentials, PasswordResetRequiredError, TokenSession
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect
from tests.values.renderers import Factory, on_every_loop, run

CODE_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


class Collector:
    """Gathers every text that something can be turned into."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def show(self, *values: object) -> None:
        for value in values:
            self.texts += [repr(value), str(value), f"{value}", repr([value]), repr(getattr(value, "__dict__", {}))]
            if isinstance(value, BaseException):
                self.error(value)

    def error(self, error: BaseException) -> None:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        self.texts.append("".join(told.format()))
        self.texts += [repr(error.args), repr(vars(error))]
        for other in (error.__cause__, error.__context__):
            if other is not None:
                self.show(other)

    def pickles(self, *values: object) -> None:
        for value in values:
            try:
                self.texts.append(pickle.dumps(value).decode("latin-1"))
            except (TypeError, AttributeError, pickle.PicklingError) as refused:
                self.texts.append(str(refused))

    async def failure(self, awaitable: Awaitable[Any]) -> BaseException:
        with pytest.raises(aiohttp.ClientError) as caught:
            await awaitable
        self.show(caught.value)
        self.pickles(caught.value)
        return caught.value


def assert_nothing_shown(texts: list[str], secrets: set[str]) -> None:
    everything = "\n".join(texts)
    for secret in secrets:
        assert secret not in everything
        assert quote_plus(secret) not in everything


@on_every_loop
def test_no_secret_is_shown_anywhere(loop: Factory | None, caplog: pytest.LogCaptureFixture) -> None:
    """repr, str, log lines at DEBUG, events, statistics, error texts, tracebacks with locals, pickles."""
    caplog.set_level(logging.DEBUG)

    async def play() -> None:
        clock = ManualClock()
        async with NexudusEmulator(clock=clock, lifetime=3600) as emulator, AsyncExitStack() as stack:
            await look_everywhere(emulator, Connect(emulator, clock, stack), clock, caplog)

    run(loop, play())


async def look_everywhere(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Let everything go wrong that can, and search whatever can be seen of it."""
    asyncio.get_running_loop().set_debug(True)
    seen, clock.autojump = Collector(), True
    emulator.user.totp_secret = CODE_SECRET
    codes: list[str] = []

    def code() -> str:
        codes.append(emulator.totp_code())
        return codes[-1]

    credentials = PasswordCredentials(emulator.username, emulator.password, code)
    session = await connect(credentials)
    token = await session.token()
    seen.show(session, session.manager, session.middleware, credentials, token, session.statistics())
    seen.show(token.authorization, token.access_token, token.refresh_token, [token], {"token": token})
    seen.texts = [text for text in seen.texts if text not in _asked_for(token)]

    seen.show(await seen.failure(session.get("/api/emulator/forbidden", raise_for_status=True)))
    seen.show(await seen.failure(session.ws_connect("/api/emulator/forbidden")))

    lies = [
        Fault.altered({"access_token": "bad\r\ntoken"}),
        Fault.altered({"expires_in": "soon"}),
        Fault.altered({"token_type": "mac"}),
        Fault.truncated(),
        Fault.dropped(applied=True),
        Fault.html(),
        Fault.answer(502, b"<html>"),
        Fault.throttled(99999),
        Fault.json({"error": "invalid_grant", "error_description": f"bad password {emulator.password} for you"}, 400),
        Fault.json({"error": {"nested": emulator.password}}, 400),
    ]
    for lie in lies:
        emulator.fail("token", lie, times=None)
        await seen.failure(session.refresh())
        emulator.faults.clear()
        await session.logout()

    emulator.user.must_reset = True
    error = await seen.failure(session.refresh())
    assert isinstance(error, PasswordResetRequiredError)
    assert error.reset_token
    assert copy.copy(error).reset_token == error.reset_token
    assert pickle.loads(pickle.dumps(error)).reset_token is None

    seen.pickles(session, session.manager, token, credentials, token.authorization)
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(connect.events) > len(lies)
    seen.show(*connect.events)
    seen.pickles(*connect.events)
    for record in caplog.records:
        seen.texts += [record.getMessage(), repr(record.args), repr(record.exc_info)]
    assert_nothing_shown(seen.texts, set(emulator.secrets) | set(codes) | {error.reset_token, "bad\r\ntoken"})


def _asked_for(token: Any) -> set[str]:
    """`str()` of the value itself is how it is sent: that one is asked for by name, and is not a leak."""
    return {str(value) for value in (token.authorization, token.access_token, token.refresh_token)}


async def test_an_error_of_the_credentials_shows_nothing(emulator: NexudusEmulator) -> None:
    """What a password callable returns or raises does not come out in a message of ours."""
    seen = Collector()
    for wrong in (b"bytes-password", 123456, None, ""):
        session = TokenSession(
            PasswordCredentials(emulator.username, lambda wrong=wrong: wrong),  # type: ignore[misc]
            base_url=emulator.url,
        )
        await seen.failure(session.token())
        await session.close()
    assert_nothing_shown(seen.texts, {"bytes-password"})


async def test_a_mock_may_copy_the_header_deeply(emulator: NexudusEmulator, connect: Connect) -> None:
    """Tools that deep-copy keyword arguments still work; pickling is refused."""
    session = await connect()
    token = await session.token()
    assert copy.deepcopy({"headers": {"Authorization": token.authorization}})["headers"]["Authorization"]
    assert copy.deepcopy(token) is token
    with pytest.raises(TypeError):
        pickle.dumps({"a": token.authorization})
    async with session.get(CUSTOMER) as response:
        assert response.status == 200
