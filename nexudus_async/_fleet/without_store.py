"""What a process does while the store is down: nobody's request suffers, and the chain that others share is left alone.

- Before the hard margin nothing is refreshed: the token is good, and the store may come back.
- Within it, each process at a moment of its own, or when somebody needs another token, it signs in under a `client_id`
  of its own, and refreshes that chain as long as nobody else can have it.
- Without credentials it refreshes the shared chain, and takes a refusal for the race that it may be.
- What could not be saved is saved when the store answers again, but not while its refresh token is being sent.
"""

from contextlib import nullcontext

from nexudus_async._refresh.attempt import Attempt
from nexudus_async._refresh.outcomes import Obtained
from nexudus_async._refresh.renewal import EXPIRED_ON_ITS_WAY, Asking
from nexudus_async._token import Token
from nexudus_async.errors import (
    EndpointUnavailableError,
    LoginRequiredError,
    MalformedResponseError,
    StoreError,
    TokenEndpointError,
    copy_of,
)
from nexudus_async.stores._record import Record

from .storage import Storage

STORE_PAUSE = 10.0
"""Seconds at most for which a store that is down is left alone while the token is good."""


class WithoutStore:
    """Gets a token for one process of a fleet, by itself."""

    def __init__(self, asking: Asking, storage: Storage) -> None:
        self._asking, self._storage = asking, storage
        self._apart: str | None = None
        """The `client_id` under which this process signed in by itself."""

    async def run(self, attempt: Attempt, error: StoreError) -> None:
        """Get one, if it cannot wait. Raises a `NexudusAuthError`; `error` where there is nothing to get it by."""
        if (seconds := attempt.can_wait_for_store) > 0:
            attempt.left_alone(min(seconds, STORE_PAUSE))
            return
        await self._asking.check_not_held(attempt)
        obtained = await self._apart_from_the_chain(attempt, error)
        if (granted := attempt.granted(obtained)) is not None:
            token = granted.token
            self._storage.keep(Record(token.generation, token, client_id=token.client_id))
            if not granted.good:
                raise MalformedResponseError(EXPIRED_ON_ITS_WAY)

    async def _apart_from_the_chain(self, attempt: Attempt, error: StoreError) -> Obtained:
        token, spent = None if attempt.by_credentials else attempt.token, None
        own = self._apart is not None and token is not None and token.client_id == self._apart
        if own and token is not None and self._storage.is_known_here_only(token):
            obtained, spent = await refresh_in_doubt(self._asking, self._storage, token)
            if obtained is not None:
                return obtained
            forget_refused(self._storage, attempt, spent)
        try:
            obtained = await self._asking.sign_in_apart(after=spent, for_new=attempt.forced)
        except LoginRequiredError:
            if token is None or token.refresh_token is None or spent is not None:
                raise copy_of(error) from error
            return await self._refresh_blindly(attempt, token)
        if obtained.grant == "password":  # others begin chains under the `client_id` that the fleet has, too
            self._apart = obtained.token.client_id
        return obtained

    async def _refresh_blindly(self, attempt: Attempt, token: Token) -> Obtained:
        obtained, spent = await refresh_in_doubt(self._asking, self._storage, token)
        if obtained is not None:
            return obtained
        forget_refused(self._storage, attempt, spent)
        raise EndpointUnavailableError(
            "the refresh token was refused while the store is down: another process may hold a newer one"
        ) from spent


async def refresh_in_doubt(
    asking: Asking, storage: Storage, token: Token | None
) -> tuple[Obtained | None, TokenEndpointError | None]:
    """Refresh, as `Asking.refresh_or_say_why_not`.

    What is still to be saved of the token is in doubt meanwhile, and when the answer was lost. Where the store cannot
    have the token yet, it does not get it before the answer.
    """
    if token is None:
        return await asking.refresh_or_say_why_not(token)
    storage.note_doubt(token, in_doubt=True)
    try:
        with storage.holding_back() if storage.is_known_here_only(token) else nullcontext():
            return await asking.refresh_or_say_why_not(token)
    except Exception:
        storage.note_doubt(token, in_doubt=asking.grants.may_have_been_used(token))
        raise


def forget_refused(storage: Storage, attempt: Attempt, spent: TokenEndpointError | None) -> None:
    """The refresh token held was refused: neither this process nor what it has yet to save keeps it."""
    token = attempt.token
    if spent is not None:
        storage.drop_refresh_token(None if token is None else token.refresh_token)
        attempt.refresh_token_refused(spent)
