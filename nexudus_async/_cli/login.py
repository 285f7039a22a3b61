"""Signing in for the command line: who, by which password and code, and where the tokens go."""

import asyncio
import getpass
import os
import sys

import anyio

from nexudus_async._credentials import PasswordCredentials, totp_from_secret
from nexudus_async._session import TokenSession
from nexudus_async._token import Token
from nexudus_async._validation import parse_origin
from nexudus_async.errors import ConfigurationError, StoreError, TotpRequiredError
from nexudus_async.stores import FileStore, MemoryStore, StoredToken

from .output import working
from .state import Account, State

__all__ = ["credentials_for_login", "log_in"]

LOCK_WAIT = 60.0
"""Seconds to wait for another process that renews: longer than a renewal may take."""


def credentials_for_login(base_url: str) -> PasswordCredentials:
    """Return the credentials in the environment; what is not there is asked for, once `base_url` is seen to be one."""
    parse_origin("base_url", base_url, allow_insecure_http=False)
    username = os.environ.get("NEXUDUS_USERNAME") or _ask("user name", "NEXUDUS_USERNAME")
    password = os.environ.get("NEXUDUS_PASSWORD") or _ask("password", "NEXUDUS_PASSWORD", hidden=True)
    secret = os.environ.get("NEXUDUS_TOTP_SECRET")
    return PasswordCredentials(username, password, totp_from_secret(secret) if secret else None)


def log_in(state: State, base_url: str, credentials: PasswordCredentials) -> Token:
    """Sign in, keep the tokens, and remember the account. Asks for a code only if the service does."""
    try:
        return asyncio.run(_log_in(state, base_url, credentials))
    except TotpRequiredError:
        if credentials.totp is not None:
            raise
    # Outside the loop: Ctrl-C ends the question, which it could not do in a worker thread.
    code = _ask("two-factor code", "NEXUDUS_TOTP_SECRET")
    with_code = PasswordCredentials(credentials.username, credentials.password, code)
    return asyncio.run(_log_in(state, base_url, with_code))


async def _log_in(state: State, base_url: str, credentials: PasswordCredentials) -> Token:
    store = MemoryStore()
    with working("signing in"):
        token, key = await _sign_in(store, base_url, credentials)
        await _hand_over(store, state.store, key)
    state.remember(Account(credentials.username, base_url))
    return token


async def _sign_in(store: MemoryStore, base_url: str, credentials: PasswordCredentials) -> tuple[Token, str]:
    # Into a store of its own: with the real one, tokens that are still there would do instead of the password, and
    # a mistyped password would be held against all who share it.
    async with TokenSession(credentials, base_url=base_url, store=store) as session:
        return await session.token(), Account(credentials.username, base_url).key


async def _hand_over(source: MemoryStore, target: FileStore, key: str) -> None:
    """Put the new record above the one that is there, so that all who share the store go on with it."""
    record = await source.load(key)
    assert record is not None  # a sign-in saves before the session closes
    try:
        with anyio.fail_after(LOCK_WAIT):
            async with target.refresh_lock(key):
                generation = max(record.generation, 1 + await _generation(target, key))
                await target.save(key, StoredToken(generation, record.payload))
    except TimeoutError as exc:
        raise StoreError(f"another process has held the lock of the tokens for {LOCK_WAIT:.0f} s") from exc


async def _generation(store: FileStore, key: str) -> int:
    try:
        record = await store.load(key)
    except StoreError:
        return 0  # unreadable: the save replaces it, or says why it cannot
    return 0 if record is None else record.generation


def _ask(what: str, variable: str, *, hidden: bool = False) -> str:
    """Return the answer of the person at the terminal, or the next line of what is piped in."""
    at_terminal = sys.stdin.isatty()
    prompt = f"{what.capitalize()}: "
    if at_terminal and hidden:
        answer = getpass.getpass(prompt)
    else:
        if at_terminal:
            sys.stderr.write(prompt)
            sys.stderr.flush()
        answer = sys.stdin.readline()
    answer = answer.rstrip("\r\n")
    if not answer:
        raise ConfigurationError(f"no {what} was given: type it, pipe it in, or set {variable}")
    return answer
