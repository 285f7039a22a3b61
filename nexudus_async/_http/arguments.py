"""The arguments of a session: checked when it is made, so that a mistake shows where it is made."""

import os
from collections.abc import Iterable
from typing import Final

from yarl import URL

from nexudus_async._credentials import Credentials
from nexudus_async._oauth.endpoint import account_of, check_credentials
from nexudus_async._ratelimit.pacing import Pacing
from nexudus_async._ratelimit.throttle import Throttle
from nexudus_async._refresh.grants import TokenSource
from nexudus_async._validation import check_kind, check_seconds, kind_of, parse_origin
from nexudus_async.errors import ConfigurationError
from nexudus_async.stores import TokenStore

DEFAULT_BASE_URL: Final = "https://spaces.nexudus.com"
BASE_URL_VARIABLE: Final = "NEXUDUS_BASE_URL"


def check_options(keep_alive: object, throttle: object, pacing: object) -> None:
    """Raise `ConfigurationError` for values of other kinds."""
    check_kind("keep_alive", keep_alive, bool, "True or False")
    check_kind("throttle", throttle, Throttle, "a Throttle, or None to get every throttled answer at once")
    check_kind("pacing", pacing, Pacing, "a Pacing, such as Pacing.documented(), or None")


def origins_named(base_url: str | URL | None, allowed: Iterable[str | URL], *, allow_insecure_http: bool) -> list[URL]:
    """Return the origins that see the token, the service's own first."""
    if isinstance(allowed, str | URL) or not isinstance(allowed, Iterable):
        raise ConfigurationError("allowed_origins must be a list of origins, such as ['https://spaces.nexudus.com']")
    name = "base_url" if base_url is not None else BASE_URL_VARIABLE
    base_url = base_url if base_url is not None else os.environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL
    named = [(name, base_url), *(("allowed_origins", origin) for origin in allowed)]
    return [parse_origin(name, origin, allow_insecure_http=allow_insecure_http) for name, origin in named]


def name_of_account(credentials: Credentials | None, store: TokenStore | None, account: str | None) -> str:
    """Return what a session calls its account: what a store files the tokens under."""
    check_kind("account", account, str, "the user name that signed in")
    check_credentials(credentials)
    if credentials is None:
        if store is None:
            raise ConfigurationError("pass credentials, or a store to take tokens from and account= to find them by")
        if not account:
            raise ConfigurationError("a store without credentials needs account=, the user name that signed in")
        return account
    if account is not None and credentials.username is not None:
        raise ConfigurationError("account= is for credentials without a user name: these file under their user name")
    name = account_of(credentials, account)
    if store is not None and not name:
        kind = type(credentials).__name__
        raise ConfigurationError(
            f"a store files tokens under a user name, which {kind} does not know: pass it username=, the e-mail address"
        )
    return name or "of an unnamed account"


def name_of_source(source: TokenSource, **others: object) -> str:
    """Return what a session calls the account of `source`. others: what does not go with one."""
    for name, value in others.items():
        if value is not None:
            raise ConfigurationError(f"pass source= or {name}=, not both: a source has its own")
    return f"by {type(source).__name__}"


def check_of_many(
    credentials: object, client_id: object, *, most: object, idle: object, label: object, store: object
) -> None:
    """Raise `ConfigurationError` for arguments of `TokenSessions` that cannot work, and no single session has."""
    if client_id is not None:
        raise ConfigurationError(
            "client_id= for all accounts would end their sessions: Nexudus keeps one refresh token for each client_id. "
            "Leave it out, and each account gets its own"
        )
    if credentials is None and store is None:
        raise ConfigurationError("pass a function that returns an account's credentials, or a store to find tokens in")
    if credentials is not None and not callable(credentials):
        raise ConfigurationError(
            f"credentials must be a function that is given an account and returns its credentials, not "
            f"{kind_of(credentials)}"
        )
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ConfigurationError(f"max_sessions must be a whole number, 1 or more, not {most!r}")
    if idle is not None:
        check_seconds("idle_timeout", idle, zero=False)
    if label is not None and not callable(label):
        raise ConfigurationError(f"label must be a function of an account, not {kind_of(label)}")
