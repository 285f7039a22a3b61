# pyright: reportPrivateUsage=false
# The defects are inside.
"""Defects of the single flight: who launches one, who waits for it, and what a caller gets."""

import asyncio
from contextlib import suppress
from typing import Any

import anyio

from nexudus_async import Freshness, NexudusAuthError, Token
from nexudus_async._refresh.coordinator import Coordinator
from nexudus_async._refresh.outcomes import Obtained
from nexudus_async._refresh.renewal import Asking
from nexudus_async._refresh.single_flight import Flight

from .machinery import Mutants, Original

__all__ = ["MUTANTS"]

MUTANTS = Mutants("alone")


@MUTANTS.replacing(Coordinator, "_under_way")
def every_caller_launches_a_flight(original: Original, self: Coordinator) -> None:
    return None


@MUTANTS.replacing(Flight, "__init__")
def a_flight_does_not_wait_for_the_one_before(
    original: Original, self: Flight[Token], work: Any, after: object = None
) -> None:
    original(self, work)


@MUTANTS.replacing(Coordinator, "_fly")
async def a_flight_clears_the_slot_of_another(original: Original, self: Coordinator, *args: Any) -> None:
    try:
        await original(self, *args)
    finally:
        self._flight = None


@MUTANTS.replacing(Flight, "wait")
async def callers_wait_for_the_flights_task_itself(original: Original, self: Flight[Token]) -> Any:
    if not self.landed and self._task is not None:
        await self._task
    return await original(self)


@MUTANTS.replacing(Flight, "wait")
async def the_last_caller_to_be_cancelled_cancels_the_flight(original: Original, self: Flight[Token]) -> Any:
    try:
        return await original(self)
    except asyncio.CancelledError:
        if not self._waiters and self._task is not None:
            self._task.cancel()
        raise


@MUTANTS.replacing(Flight, "wait")
async def one_error_object_for_all(original: Original, self: Flight[Token]) -> Any:
    try:
        return await original(self)
    except NexudusAuthError as own:
        raise (self._error or own) from None


@MUTANTS.replacing(Coordinator, "token")
async def a_lock_is_held_across_the_request(original: Original, self: Coordinator) -> Any:
    async with vars(self).setdefault("lock", asyncio.Lock()):
        return await original(self)


@MUTANTS.replacing(Coordinator, "token")
async def callers_wait_although_the_token_is_good(original: Original, self: Coordinator) -> Any:
    if self.state.freshness is Freshness.ADVISORY and self.state.holds_off is None:
        return await self.launch("advisory").wait()
    return await original(self)


@MUTANTS.replacing(Flight, "_on_end")
def a_flight_cancelled_from_outside_leaves_its_waiters_waiting(
    original: Original, self: Flight[Token], task: asyncio.Task[None]
) -> None:
    if not task.cancelled():
        original(self, task)


@MUTANTS.replacing(Asking, "_ask")
async def published_after_an_await(original: Original, self: Asking, *args: Any) -> Obtained:
    obtained: Obtained = await original(self, *args)
    await asyncio.sleep(0)
    return obtained


@MUTANTS.replacing(Coordinator, "_wait_a_little")
async def callers_wait_without_limit_in_the_hard_margin(
    original: Original, self: Coordinator, flight: Flight[Token]
) -> None:
    with suppress(NexudusAuthError):
        await flight.wait()
    await original(self, flight)


@MUTANTS.replacing(Coordinator, "_wait_a_little")
async def a_failure_within_the_hard_margin_is_raised(
    original: Original, self: Coordinator, flight: Flight[Token]
) -> None:
    with anyio.move_on_after(self.state.policy.mandatory_wait):
        await flight.wait()
