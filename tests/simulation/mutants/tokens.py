# pyright: reportPrivateUsage=false
# The defects are inside.
"""Defects of what is done with a token: which is held, which refresh token is sent, and who gets to see what."""

from typing import Any

from nexudus_async import Token
from nexudus_async._http.request import Origins
from nexudus_async._oauth import words
from nexudus_async._oauth.failures import Fate
from nexudus_async._oauth.grants import NexudusGrants
from nexudus_async._oauth.password import PasswordSignIn
from nexudus_async._oauth.replay_guard import MAX_SENDINGS, ReplayGuard
from nexudus_async._oauth.transport import AttemptFailed
from nexudus_async._refresh.facts import TokenFacts
from nexudus_async._refresh.state import TokenState
from nexudus_async._token import Secret

from .machinery import Mutants, Original

__all__ = ["MUTANTS"]

MUTANTS = Mutants("alone")


@MUTANTS.replacing(TokenFacts, "replaced")
def generations_are_not_compared(original: Original, self: TokenFacts, token: Token) -> bool:
    return False


@MUTANTS.replacing(TokenState, "refresh_token_refused")
def a_spent_refresh_token_is_kept(original: Original, self: TokenState, *, to_us: bool = False) -> None:
    self.failures += to_us


@MUTANTS.replacing(ReplayGuard, "_known")
def a_lost_answer_is_forgotten(original: Original, self: ReplayGuard, refresh_token: str) -> None:
    return None


@MUTANTS.replacing(ReplayGuard, "forbids")
def a_replay_has_no_limit(original: Original, self: ReplayGuard, refresh_token: str) -> bool:
    return False


@MUTANTS.replacing(ReplayGuard, "forbids")
def a_replay_has_no_time_limit(original: Original, self: ReplayGuard, refresh_token: str) -> bool:
    sent = self._known(refresh_token)
    return sent is not None and sent.times >= MAX_SENDINGS


@MUTANTS.replacing(NexudusGrants, "_try_to_refresh")
async def an_answer_that_is_not_nexudus_clears_a_lost_one(
    original: Original, self: NexudusGrants, refresh_token: Secret, client_id: str
) -> Any:
    before = self._guard._known(refresh_token)
    try:
        return await original(self, refresh_token, client_id)
    except AttemptFailed as failed:
        if failed.fate is Fate.BROKEN:
            self._guard.restore(before)
        raise


@MUTANTS.replacing(PasswordSignIn, "_check_typed_code")
def a_typed_code_is_used_again(original: Original, self: PasswordSignIn) -> None:
    pass


@MUTANTS.replacing(Origins, "cover")
def every_origin_gets_the_token(original: Original, self: Origins, url: object) -> bool:
    return True


@MUTANTS.replacing(words, "masked")
def the_services_words_are_not_masked(original: Original, text: str, secrets: object) -> str:
    return text
