"""Who calls: the account in the environment, or one that signed in.

The environment comes first, as in other command lines. Whoever is only there signs in with each command, and nothing
is kept; whoever signed in with `login` as well goes on with the tokens kept then.
"""

import hashlib
import os
from dataclasses import dataclass

from nexudus_async._credentials import PasswordCredentials
from nexudus_async._events import Listener
from nexudus_async._http.arguments import DEFAULT_BASE_URL
from nexudus_async._session import TokenSession
from nexudus_async.errors import StoreError
from nexudus_async.stores import TokenStore

from .output import NAME
from .state import Account, NotSignedInError, State, origin_of, same_user

__all__ = ["Caller", "choose", "credentials_in_environment"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and what with: the tokens kept for `account`, `credentials`, or both."""

    username: str
    base_url: str
    account: Account | None = None
    credentials: PasswordCredentials | None = None

    def store(self, state: State) -> TokenStore | None:
        """Return where the tokens are kept, None where they are not. Call it outside the event loop."""
        return None if self.account is None else state.store(self.account.kept_in)

    def session(self, store: TokenStore | None, on_event: Listener | None = None) -> TokenSession:
        """Return a session for this account."""
        if self.credentials is None:
            return TokenSession(store=store, account=self.username, base_url=self.base_url, on_event=on_event)
        # Always the same, so that a hundred commands leave one refresh token behind at the service and not a hundred.
        name = hashlib.sha256(self.username.strip().casefold().encode("utf-8", "replace")).hexdigest()[:16]
        client_id = f"nexudus-async-cli-{name}" if store is None else None
        return TokenSession(
            self.credentials, base_url=self.base_url, store=store, client_id=client_id, on_event=on_event
        )


def choose(state: State, username: str | None, base_url: str | None) -> Caller:
    """Return who is meant. Raises `NotSignedInError`, and `ConfigurationError` for a base URL that is none."""
    base_url = None if base_url is None else origin_of(base_url)
    credentials = credentials_in_environment(username)
    if credentials is None:
        account = _signed_in(state, username, base_url)
        return Caller(account.username, account.base_url, account)
    try:
        found = state.find(credentials.username, base_url)
    except (StoreError, OSError):
        found = None  # what is kept, or cannot be, is of no matter to credentials in the environment
    if found is not None:
        return Caller(found.username, found.base_url, found, credentials)
    return Caller(credentials.username, base_url or DEFAULT_BASE_URL, None, credentials)


def _signed_in(state: State, username: str | None, base_url: str | None) -> Account:
    try:
        return state.account(username, base_url)
    except NotSignedInError:
        known = os.environ.get("NEXUDUS_USERNAME")
        if known and same_user(username or known, known) and not os.environ.get("NEXUDUS_PASSWORD"):
            raise NotSignedInError(
                f"NEXUDUS_USERNAME is set and NEXUDUS_PASSWORD is not set: set it, or {NAME} login"
            ) from None
        raise


def credentials_in_environment(username: str | None = None) -> PasswordCredentials | None:
    """Return the credentials in the environment; None if there are none, or those of another account."""
    known = os.environ.get("NEXUDUS_USERNAME")
    if not known or not os.environ.get("NEXUDUS_PASSWORD") or not same_user(username or known, known):
        return None
    return PasswordCredentials.from_env()
