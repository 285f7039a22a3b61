"""Against token endpoints that others have written, on real time: what Nexudus is like is not only our own opinion."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from nexudus_async import FileStore, PasswordCredentials, TokenEndpointError, TokenSession, TokenStore
from tests.conftest import CUSTOMER

from .foreign_servers import PASSWORD, USER, Answer, Bank, authlib, oauthlib, serve

pytestmark = pytest.mark.fleet

SERVERS: list[Answer] = [oauthlib, authlib]
LIFETIME = 5
REFRESHES, PATIENCE = 2, 30.0
"""How many are waited for, each 2.5 s to 3.1 s after the one before, and for how many seconds at most."""
CALLERS = 200


async def _call(session: TokenSession, bank: Bank, seen: Counter[int]) -> None:
    end = time.monotonic() + PATIENCE
    while bank.refreshes < REFRESHES and time.monotonic() < end:
        async with session.get(CUSTOMER) as response:
            seen[response.status] += 1
        await asyncio.sleep(1)


async def _load(answer: Answer, stores: list[TokenStore | None]) -> tuple[Bank, Counter[int]]:
    """Let 200 coroutines of as many sessions as there are stores send requests, and return what came of it."""
    bank, seen = Bank(LIFETIME), Counter[int]()
    async with serve(answer, bank) as origin, asyncio.TaskGroup() as group:
        for store in stores:
            group.create_task(_use(origin, store, CALLERS // len(stores), bank, seen))
    return bank, seen


async def _use(origin: str, store: TokenStore | None, callers: int, bank: Bank, seen: Counter[int]) -> None:
    async with TokenSession(
        PasswordCredentials(USER, PASSWORD), base_url=origin, store=store, throttle=None
    ) as session:
        await asyncio.gather(*(_call(session, bank, seen) for _ in range(callers)))


async def test_one_sign_in_and_no_reuse_alone_and_in_a_fleet(tmp_path: Path) -> None:
    """Two hundred coroutines, tokens of five seconds: in one process, and in four sessions that share a file."""
    shared: list[list[TokenStore | None]] = [
        [FileStore(tmp_path / answer.__name__) for _ in range(4)] for answer in SERVERS
    ]
    found = await asyncio.gather(
        *(_load(answer, [None]) for answer in SERVERS),
        *(_load(answer, stores) for answer, stores in zip(SERVERS, shared, strict=True)),
    )
    for bank, seen in found:
        assert (bank.sign_ins, bank.reused) == (1, 0)
        assert bank.refreshes >= REFRESHES
        assert set(seen) == {200}
        assert seen[200] > CALLERS


@pytest.mark.parametrize(("answer", "refusal"), [(oauthlib, "invalid_grant"), (authlib, "invalid_request")])
async def test_their_refusals_are_understood(answer: Answer, refusal: str) -> None:
    """Of a password, and of a refresh token: a used one ends the family, and one sign-in follows."""
    bank = Bank(LIFETIME)
    async with serve(answer, bank) as origin:
        async with TokenSession(PasswordCredentials(USER, "wrong"), base_url=origin) as session:
            with pytest.raises(TokenEndpointError) as caught:
                await session.token()
            assert caught.value.error == refusal
        async with TokenSession(PasswordCredentials(USER, PASSWORD), base_url=origin) as session:
            token = await session.token()
            form = {"grant_type": "refresh_token", "refresh_token": token.refresh_token or ""}
            headers = {"client_id": token.client_id or ""}
            async with (
                aiohttp.ClientSession() as thief,
                thief.post(f"{origin}/api/token", data=form, headers=headers) as response,
            ):
                assert response.status == 200
            assert (await session.refresh()).generation == 2
        assert (bank.sign_ins, bank.reused) == (2, 1)
