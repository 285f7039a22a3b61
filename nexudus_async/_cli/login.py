"""Signing in for the command line: who, by which password and code, and where the tokens go."""

import getpass
import os
import sys
from contextlib import suppress

import anyio

from nexudus_async._credentials import PasswordCredentials, RefreshTokenCredentials, totp_from_secret
from nexudus_async._session import TokenSession
from nexudus_async._token import Token
from nexudus_async.errors import ConfigurationError, LoginRequiredError, StoreError, TotpRequiredError
from nexudus_async.stores import MemoryStore, StoredToken, TokenStore

from . import keys
from .calls import log_out
from .log import heard
from .loop import run
from .output import NAME, note, own_line, working
from .state import Account, KeptIn, NotSignedInError, State, same_user

__all__ = ["credentials_for_login", "credentials_in_hand", "log_in"]

Credentials = PasswordCredentials | RefreshTokenCredentials

LOCK_WAIT = 60.0
"""Seconds to wait for another process that refreshes: longer than a refresh may take."""
CODES = 3
"""How many codes a person may type: services lock accounts that insist."""


def credentials_in_hand(account: str | None, client_id: str | None) -> tuple[str, Credentials]:
    """Return whose refresh token is in the environment or asked for, and the token as credentials."""
    known = os.environ.get("NEXUDUS_USERNAME")
    username = account or known or _ask("user name", "NEXUDUS_USERNAME")
    own = not known or same_user(username, known)
    token = (own and os.environ.get("NEXUDUS_REFRESH_TOKEN")) or _ask(
        "refresh token", "NEXUDUS_REFRESH_TOKEN" if own else None, hidden=True
    )
    return username, RefreshTokenCredentials(token, client_id=client_id or username, username=username)


def credentials_for_login(account: str | None) -> tuple[str, Credentials]:
    """Return the credentials in the environment, if they are this account's; what is not there is asked for."""
    known = os.environ.get("NEXUDUS_USERNAME")
    username = account or known or _ask("user name", "NEXUDUS_USERNAME")
    if known and not same_user(username, known):  # the other secrets there are that account's
        return username, PasswordCredentials(username, _ask("password", None, hidden=True))
    password = os.environ.get("NEXUDUS_PASSWORD") or _ask("password", "NEXUDUS_PASSWORD", hidden=True)
    secret = os.environ.get("NEXUDUS_TOTP_SECRET")
    return username, PasswordCredentials(username, password, totp_from_secret(secret) if secret else None)


def log_in(state: State, account: Account, credentials: Credentials, *, keyring: bool) -> Token:
    """Sign in, keep the tokens, and remember the account. Asks for a code only if the service does.

    keyring: keep the tokens by the keyring, if there is one.
    """
    kept_in, store = _place(state, keyring=keyring)
    if isinstance(credentials, RefreshTokenCredentials):
        run(store.clear("nothing"))  # raises where the next token could not be kept, while this one is unspent
        token, signed_in = _take_over(account, credentials)
    else:
        token, signed_in = _sign_in(account, credentials)
    run(_hand_over(signed_in, store, account.key))
    before = state.remember(Account(account.username, account.base_url, kept_in))
    if before is not None and before.kept_in != kept_in:
        with suppress(StoreError):  # what cannot be opened is of no use to anybody
            run(log_out(before, state.store(before.kept_in)))
    return token


def _take_over(account: Account, credentials: RefreshTokenCredentials) -> tuple[Token, TokenStore]:
    try:
        return run(_signed_in(account, credentials))
    except LoginRequiredError:
        raise NotSignedInError(
            "the refresh token was refused: it was used, has ended, or was issued to another --client-id"
        ) from None


def _sign_in(account: Account, credentials: PasswordCredentials) -> tuple[Token, TokenStore]:
    for typed in range(CODES + 1):
        try:
            return run(_signed_in(account, credentials))
        except TotpRequiredError:
            if not (credentials.totp is None or isinstance(credentials.totp, str)):
                raise
            if typed == CODES or (typed and not sys.stdin.isatty()):
                raise NotSignedInError(f"the two-factor code was refused: {NAME} login asks for another") from None
        if typed:
            note("that code was refused: type the next one that your app shows")
        # Outside the loop: Ctrl-C ends the question, which it could not do in a worker thread.
        code = _ask("two-factor code", "NEXUDUS_TOTP_SECRET")
        credentials = PasswordCredentials(credentials.username, credentials.password, code)
    raise AssertionError


async def _signed_in(account: Account, credentials: Credentials) -> tuple[Token, TokenStore]:
    # Into a store of its own: with the real one, tokens that are still there would do instead of the password, and
    # what was mistyped would be held against all who share it.
    store = MemoryStore()
    async with TokenSession(credentials, base_url=account.base_url, store=store, on_event=heard) as session:
        with working("signing in"):
            return await session.token(), store


def _place(state: State, *, keyring: bool) -> tuple[KeptIn, TokenStore]:
    """Return where to keep the tokens: by the keyring, if there is one that can be used, else in the file."""
    if keyring and keys.backend_name() is not None:
        try:
            return "keyring", state.store("keyring", make_key=True)
        except StoreError as exc:
            note(f"{exc}: the tokens go into a file that only you can read")
    return "file", state.store("file")


async def _hand_over(source: TokenStore, target: TokenStore, key: str) -> None:
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


async def _generation(store: TokenStore, key: str) -> int:
    try:
        record = await store.load(key)
    except StoreError:
        with suppress(StoreError):
            await store.clear(key)  # what cannot be read may be in the way, and the new tokens are above it anyhow
        return 0
    return 0 if record is None else record.generation


def _ask(what: str, variable: str | None, *, hidden: bool = False) -> str:
    """Return the answer of the person at the terminal, or the next line of what is piped in."""
    at_terminal = sys.stdin.isatty()
    prompt, answer = f"{what.capitalize()}: ", ""
    if at_terminal and hidden:
        with suppress(EOFError):
            answer = getpass.getpass(prompt) + "\n"
    else:
        if at_terminal:
            sys.stderr.write(prompt)
            sys.stderr.flush()
        answer = sys.stdin.readline()
    if not answer:
        own_line()  # Ctrl-D, and the cursor still stands behind the question
    answer = answer.rstrip("\r\n")
    if not answer:
        way_out = f", or set {variable}" if variable else ""
        raise ConfigurationError(f"no {what} was given: type it, or pipe it in{way_out}")
    return answer
