# pyright: reportPrivateUsage=false
# The defects are inside.
"""Defects of requests: where the token goes, how often one is sent again, who is let through after a pause."""

import asyncio
import heapq
from typing import Any

from yarl import URL

from nexudus_async import SessionClosedError, Token
from nexudus_async._http import request
from nexudus_async._http.sender import Sender
from nexudus_async._keep_alive import KeepAlive
from nexudus_async._ratelimit.adaptive_rate import AdaptiveRate
from nexudus_async._ratelimit.gate import Gate, Place, _Waiting
from nexudus_async._ratelimit.throttle import Patience
from nexudus_async._refresh.coordinator import Coordinator
from nexudus_async._refresh.single_flight import Flight

from .machinery import Mutants, Original

__all__ = ["MUTANTS"]

MUTANTS = Mutants("alone")


@MUTANTS.replacing(request, "origin_key")
def the_port_is_not_compared(original: Original, url: URL) -> Any:
    scheme, host, _ = original(url)
    return scheme, host, None


@MUTANTS.replacing(request, "origin_key")
def the_scheme_is_not_compared(original: Original, url: URL) -> Any:
    _, host, port = original(url)
    return None, host, 443 if port == 80 else port


@MUTANTS.replacing(Gate, "enter")
async def the_turn_of_a_cancelled_request_is_lost(original: Original, self: Gate, place: Place) -> float:
    ticket: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    heapq.heappush(self._resting, (place.due, place.serial, _Waiting(place, ticket, place.due)))
    self._pump()
    await ticket
    if self._closed:
        raise SessionClosedError("closed")
    return ticket.result()


@MUTANTS.replacing(Gate, "_ring_at")
def nobody_is_woken_when_a_pause_is_over(original: Original, self: Gate, when: float) -> None:
    pass


@MUTANTS.replacing(AdaptiveRate, "hold")
def a_pause_is_kept_by_nobody(original: Original, self: AdaptiveRate, until: float) -> None:
    pass


@MUTANTS.replacing(Gate, "place")
def a_short_retry_after_is_ignored(
    original: Original, self: Gate, rank: int, *, wait: float = 0.0, **how: Any
) -> Place:
    return original(self, rank, **how)  # type: ignore[no-any-return]


@MUTANTS.replacing(Gate, "throttled")
def all_are_held_for_what_one_is_asked(
    original: Original, self: Gate, ticket: float, asked: Any, *, write: bool
) -> None:
    original(self, ticket, 3600.0, write=write)


@MUTANTS.replacing(Patience, "pause_for")
async def max_replays_is_ignored(original: Original, self: Patience, answer: Any) -> Any:
    self.replays = 0
    return await original(self, answer)


@MUTANTS.replacing(Sender, "_persist")
async def replays_have_no_limit(original: Original, self: Sender, sending: Any, answer: Any, *args: Any) -> Any:
    answer = await original(self, sending, answer, *args)
    for _ in range(5):
        token = self._manager.current()
        if token is None or getattr(answer, "status", 0) != 401:
            break
        answer = await original(self, sending, answer, token, None)
    return answer


@MUTANTS.replacing(KeepAlive, "stop")
async def close_leaves_the_keep_alive_task_asleep(original: Original, self: KeepAlive) -> None:
    pass


@MUTANTS.replacing(Coordinator, "refresh_early")
def keep_alive_looks_at_no_pause(original: Original, self: Coordinator) -> None:
    self.launch("advisory")


@MUTANTS.replacing(Coordinator, "refresh_early")
def keep_alive_ignores_back_off_and_latch(original: Original, self: Coordinator) -> None:
    self.launch("requested")


@MUTANTS.replacing(Flight, "start")
def a_flight_whose_launch_fails_is_never_forgotten(original: Original, self: Flight[Token]) -> None:
    try:
        original(self)
    except MemoryError:
        self._future = asyncio.get_running_loop().create_future
