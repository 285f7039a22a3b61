"""The grants of one account: a sign-in, a refresh, how often each is tried, and the guard of a lost refresh token.

Trying again is decided by what became of the attempt (`failures.Fate`):

                  sign-in                   refresh
    not sent      again                     again
    throttled     again                     again
    broken        again                     not in this flight
    lost          again, unless the code    once more, promptly; after that the refresh token counts as spent, unless
                  was typed by a person     nobody is there to sign in again
    unreadable    not in this flight        as lost
    unclear       not in this flight        as lost, without the once more
    refused       never                     never

A one-time JWT is tried again only where it was not sent, or throttled; one that an operator gives, as a password.
A refresh token that was handed over is nobody's to keep: when its answer is lost twice, it counts as spent.

This is the only place where tenacity is known.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from nexudus_async._clock import Clock, sleep
from nexudus_async._events import Grant
from nexudus_async._refresh.policy import RefreshPolicy
from nexudus_async._refresh.renewal import is_spent
from nexudus_async._refresh.tried import Tried
from nexudus_async._token import Secret, Token
from nexudus_async.errors import LoginRequiredError, TokenEndpointError

from . import messages
from .failures import Fate
from .in_hand import SEED_AGAIN, TokensInHand
from .replay_guard import ReplayGuard
from .sign_in import Attempt, SignIn
from .transport import AttemptFailed, Form, Transport

if TYPE_CHECKING:
    from tenacity import RetryCallState

MAX_TRIES: Final = 3
"""Per sign-in or refresh: a fault that outlives three tries is not a hiccup, and back-off takes over."""
FIRST_WAIT, LONGEST_WAIT = 0.25, 5.0
"""Seconds between tries: random, up to the first, doubling to the second."""
_LOST: Final = (Fate.LOST, Fate.UNREADABLE)


class NexudusGrants:
    """The grants of one account."""

    for_fleets = True

    def __init__(
        self,
        transport: Transport,
        sign_in: SignIn,
        *,
        tried: Tried,
        client_id: str | None,
        policy: RefreshPolicy,
        clock: Clock,
    ) -> None:
        self._transport, self._sign_in, self._policy, self._clock = transport, sign_in, policy, clock
        self._client_id, self._named = client_id, client_id is not None
        self._guard = ReplayGuard(clock)
        self.tried = tried

    @property
    def grant(self) -> Grant | None:
        return self._sign_in.grant

    async def take_one_time(self) -> str | None:
        return await self._sign_in.take_one_time()

    async def sign_in(self, client_id: str | None, *, probing: bool = False, by_hand: bool = False) -> Token:
        """Return a token for the credentials. client_id: the chain's, unless one was given by hand."""
        if client_id is not None and not self._named:
            self._client_id = client_id
        self._client_id = self._client_id or _new_client_id()
        attempt = await self._sign_in.begin(self._client_id, apart=False)

        def may_retry(failed: AttemptFailed) -> bool:
            return not probing and self._sign_in.may_retry(failed)

        token = await self._retrying(attempt, may_retry)
        in_hand = self._sign_in if by_hand and isinstance(self._sign_in, TokensInHand) else None
        return token if in_hand is None else await self._refresh_in_hand(token, in_hand)

    async def _refresh_in_hand(self, token: Token, in_hand: TokensInHand) -> Token:
        """Return the successor of tokens in hand: they replace nothing before the service has taken them.

        What is known of the refresh token held is kept. Raises `LoginRequiredError` where the one in hand must not be
        sent again; else it counts as not used.
        """
        kept, self._guard = self._guard, ReplayGuard(self._clock)
        try:
            return await self.refresh(token)
        except BaseException as exc:
            used = self.may_have_been_used(token)
            self._guard = kept
            if isinstance(exc, TokenEndpointError) and (used or is_spent(exc)):
                raise LoginRequiredError(SEED_AGAIN) from exc
            if not used:
                in_hand.take_back(token)
            raise

    async def sign_in_apart(self) -> Token:
        return await self._retrying(await self._sign_in.begin(_new_client_id(), apart=True), self._sign_in.may_retry)

    async def refresh(self, token: Token) -> Token:
        if token.refresh_token is None or token.client_id is None:
            raise TokenEndpointError("the token has no refresh token", refresh_token_spent=True)
        refresh_token, client_id = Secret(token.refresh_token), token.client_id

        async def attempt() -> Token:
            return await self._try_to_refresh(refresh_token, client_id)

        def may_retry(failed: AttemptFailed) -> bool:
            harmless = failed.fate in (Fate.NOT_SENT, Fate.THROTTLED, *_LOST)
            return harmless and not self._guard.forbids(refresh_token)

        return await self._retrying(attempt, may_retry)

    def others_have_sent(self, token: Token) -> None:
        if token.refresh_token is not None:
            self._guard.others_have_sent(token.refresh_token)

    def may_have_been_used(self, token: Token) -> bool:
        return token.refresh_token is not None and self._guard.may_have_been_used(token.refresh_token)

    async def credentials_changed(self) -> bool:
        return await self._sign_in.credentials_changed()

    async def fingerprint(self, like: str | None = None) -> str | None:
        return await self._sign_in.fingerprint(like)

    def _is_kept_in_doubt(self, refresh_token: Secret) -> bool:
        """Whether it is better than none when nobody knows if it was used."""
        return self._sign_in.attended and self.tried.mark_of(refresh_token) not in self.tried

    async def _try_to_refresh(self, refresh_token: Secret, client_id: str) -> Token:
        kept = self._is_kept_in_doubt(refresh_token)
        if not kept and self._guard.forbids(refresh_token):
            raise TokenEndpointError(
                "the answer to the last refresh was lost, and its refresh token may have been used",
                refresh_token_spent=True,
            )
        request = messages.refresh(refresh_token, client_id)
        form, before = Form(request.form), self._guard.sending(refresh_token)
        try:
            token = await self._transport.post(request, form)
        except AttemptFailed as failed:
            if form.unsent:  # an answer came before there was a request, say
                self._guard.restore(before)
            elif failed.fate in (*_LOST, Fate.UNCLEAR):
                if failed.fate is Fate.UNCLEAR:
                    self._guard.forbid()
                failed.error.refresh_token_spent = not kept
            elif before is None or failed.fate in (Fate.NOT_SENT, Fate.THROTTLED):
                self._guard.restore(before)
            # Else the one replay was made: whatever came of it, there is no other.
            raise
        except asyncio.CancelledError:
            if form.unsent:  # cut off while it waited for a connection
                self._guard.restore(before)
            raise
        self._guard.restore(None)
        return token

    async def _retrying(self, attempt: Attempt, may_retry: Callable[[AttemptFailed], bool]) -> Token:
        started = self._clock.monotonic()
        reserve = min(self._policy.connect_timeout, self._policy.flight_deadline / MAX_TRIES)

        def out_of_time(state: "RetryCallState") -> bool:
            """Whether the next try could not even connect before the deadline cuts it off in an unknown state."""
            elapsed = self._clock.monotonic() - started
            return elapsed + state.upcoming_sleep + reserve > self._policy.flight_deadline

        # Imported at the first sign-in: it is a fifth of what importing this package adds to aiohttp.
        from tenacity import AsyncRetrying, retry_if_exception, wait_random_exponential  # noqa: PLC0415

        waits = wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda exc: isinstance(exc, AttemptFailed) and may_retry(exc)),
            stop=lambda state: state.attempt_number >= MAX_TRIES or out_of_time(state),
            wait=lambda state: max(waits(state), _asked_wait(state)),
            sleep=lambda seconds: sleep(self._clock, seconds),
            reraise=True,
        )
        try:
            return await retrying(attempt)
        except AttemptFailed as failed:
            error, cause = failed.error, failed.__cause__
        raise error from cause  # not above, or each of the tries would be a part of its context


def _asked_wait(state: "RetryCallState") -> float:
    """Return the seconds that the service asked to wait."""
    failure = state.outcome and state.outcome.exception()
    return (isinstance(failure, AttemptFailed) and failure.error.retry_after) or 0.0


def _new_client_id() -> str:
    return f"nexudus-async-{secrets.token_hex(8)}"
