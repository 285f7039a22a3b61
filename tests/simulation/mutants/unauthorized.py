# pyright: reportPrivateUsage=false
# The defects are inside.
"""Defects of what a 401 does, and of what an answer means: for the token, for the path, and for the refresh token."""

from typing import Any

from yarl import URL

from nexudus_async import Token
from nexudus_async._http import unauthorized
from nexudus_async._http.unauthorized import Unauthorized
from nexudus_async._oauth import transport
from nexudus_async._oauth.failures import Fate
from nexudus_async._refresh.facts import TokenFacts
from nexudus_async._refresh.state import TokenState
from nexudus_async.errors import TokenEndpointError

from .machinery import Mutants, Original

__all__ = ["MUTANTS"]

MUTANTS = Mutants("alone")


@MUTANTS.replacing(transport, "fate_of")
def the_answer_of_a_gateway_counts_as_complete(original: Original, error: TokenEndpointError) -> Any:
    return Fate.BROKEN if error.status in (502, 504) else original(error)


@MUTANTS.replacing(TokenState, "accepted")
def a_refused_token_stays_refused_though_it_is_accepted(original: Original, self: TokenState, token: Token) -> bool:
    return False


@MUTANTS.replacing(TokenState, "_hold")
def a_refused_token_stays_refused_though_it_has_a_successor(
    original: Original, self: TokenState, token: Token, age: float
) -> None:
    before = self._no_successor
    original(self, token, age)
    self._rejected, self._no_successor = (token, before) if before is not None else (None, None)


@MUTANTS.replacing(TokenFacts, "refused")
def a_token_that_is_refused_for_good_stays_fresh(original: Original, self: TokenFacts) -> None:
    return None


@MUTANTS.replacing(Unauthorized, "replayed")
def a_token_that_died_before_the_replay_counts_as_a_permission(
    original: Original, self: Unauthorized, *args: Any
) -> None:
    self._worked = None
    original(self, *args)


@MUTANTS.replacing(unauthorized, "shape_of")
def each_number_in_a_path_is_another_path(original: Original, url: URL) -> str:
    return url.raw_path
