"""Work for a flight that a test holds in its hand."""

import asyncio

from nexudus_async import NexudusAuthError
from nexudus_async._refresh.single_flight import Flight

Waiters = list[asyncio.Task[str]]


class Work:
    """Waits to be let go, then lands; counts what happened to it."""

    def __init__(self, *, error: NexudusAuthError | None = None) -> None:
        self.go, self.save = asyncio.Event(), asyncio.Event()
        self.save.set()
        self.error = error
        self.log: list[str] = []

    async def __call__(self, flight: Flight[str]) -> None:
        self.log.append("began")
        try:
            await self.go.wait()
            if self.error is not None:
                raise self.error
            flight.succeed("token")
            self.log.append("landed")
            await self.save.wait()
            self.log.append("saved")
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise


async def settle() -> None:
    """Let everything run that can, without letting time pass."""
    for _ in range(10):
        await asyncio.sleep(0)


def launch(work: Work, after: Flight[str] | None = None) -> Flight[str]:
    flight = Flight(work, after)
    flight.start()
    return flight


async def join(flight: Flight[str], count: int) -> Waiters:
    waiters = [asyncio.create_task(flight.wait()) for _ in range(count)]
    await settle()
    return waiters
