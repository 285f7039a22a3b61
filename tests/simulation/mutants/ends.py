# pyright: reportPrivateUsage=false
# The defects are inside.
"""Defects of logout and close."""

from collections.abc import Coroutine
from typing import Any

from nexudus_async import LoginRequiredError, NexudusAuthError, SessionClosedError, Token, _session
from nexudus_async._refresh import coordinator
from nexudus_async._refresh.coordinator import Coordinator
from nexudus_async._refresh.single_flight import Flight
from nexudus_async._refresh.state import TokenState

from .machinery import Mutants, Original

__all__ = ["MUTANTS"]

MUTANTS = Mutants("alone")


@MUTANTS.replacing(TokenState, "logged_out")
def a_logout_lets_the_flights_result_stand(original: Original, self: TokenState, **kwargs: Any) -> None:
    original(self, **kwargs)
    self.epoch -= 1


@MUTANTS.replacing(Flight, "cancel", too=True)
def _and_does_not_cancel_it(original: Original, self: Flight[Token]) -> None:
    if not isinstance(self._error, LoginRequiredError):
        original(self)


@MUTANTS.replacing(Coordinator, "_check_not_logged_out")
def a_call_that_waits_in_the_hard_margin_undoes_a_logout(original: Original, self: Coordinator, epoch: int) -> None:
    pass


@MUTANTS.replacing(Flight, "fail")
def close_does_not_wake_waiters(original: Original, self: Flight[Token], error: NexudusAuthError) -> None:
    if self.ended or not isinstance(error, SessionClosedError):
        original(self, error)


@MUTANTS.replacing(Flight, "cancel")
def close_does_not_end_the_flight(original: Original, self: Flight[Token]) -> None:
    if isinstance(self._error, LoginRequiredError):
        original(self)


@MUTANTS.replacing(TokenState, "close")
def a_closed_session_serves_its_token(original: Original, self: TokenState) -> None:
    self.closed = True


@MUTANTS.replacing(_session, "finish")
async def a_close_in_a_cancelled_scope_leaves_the_session_open(
    original: Original, work: Coroutine[Any, Any, None], **kwargs: Any
) -> None:
    await work


@MUTANTS.replacing(coordinator, "finish")
async def a_cancelled_close_leaves_what_it_has_cancelled(
    original: Original, work: Coroutine[Any, Any, None], **kwargs: Any
) -> None:
    await work
