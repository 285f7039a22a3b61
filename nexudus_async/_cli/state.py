"""What the command line keeps between two commands: who signed in where, and the tokens.

`account.json` lists the accounts, without a secret. The tokens are in `tokens.json`, or, where the platform has a
keyring, encrypted in `tokens.encrypted.json`, with the key in the keyring.
"""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nexudus_async._oauth.endpoint import account_key
from nexudus_async._validation import parse_origin
from nexudus_async.errors import LoginRequiredError, StoreError
from nexudus_async.stores import (
    EncryptedStore,
    FileStore,
    TokenStore,
    _private_file,  # pyright: ignore[reportPrivateUsage] - this package's own
)
from nexudus_async.stores._support import extra

from . import keys

__all__ = ["Account", "KeptIn", "NotSignedInError", "State", "origin_of", "same_user"]

FOLDER_VARIABLE = "NEXUDUS_STATE_DIR"
LOCK_WAIT = 5.0
"""Seconds to wait for another command that writes the list of accounts, which takes milliseconds."""

KeptIn = Literal["file", "keyring"]


class NotSignedInError(LoginRequiredError):
    """Raised when nobody is signed in who could be meant. Its words are for a person at a shell."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who signed in, where, and where the tokens are kept."""

    username: str
    base_url: str
    kept_in: KeptIn = "file"

    @property
    def key(self) -> str:
        """What a store files the account's tokens under."""
        return account_key(parse_origin("--base-url", self.base_url, allow_insecure_http=True), self.username, None)

    def is_at(self, username: str | None, base_url: str | None) -> bool:
        """Tell whether this is the account of that name, at that place; None is any."""
        return (username is None or same_user(self.username, username)) and base_url in (None, self.base_url)

    def __str__(self) -> str:
        return f"{self.username} at {self.base_url}"


class State:
    """The folder with the files: NEXUDUS_STATE_DIR, or the platform's own place for such things."""

    def __init__(self) -> None:
        given = os.environ.get(FOLDER_VARIABLE)
        self.folder = Path(given).expanduser().absolute() if given else _platform_folder()
        self._path = self.folder / "account.json"

    def path_of_tokens(self, kept_in: KeptIn) -> Path:
        """Return the file with the tokens that are kept there."""
        return self.folder / ("tokens.json" if kept_in == "file" else "tokens.encrypted.json")

    def store(self, kept_in: KeptIn, *, make_key: bool = False) -> TokenStore:
        """Return where the tokens are. Raises `StoreError` where that is a keyring which cannot be used now.

        make_key: put a key into the keyring when there is none. Call it outside the event loop: keyrings ask people.
        """
        store = FileStore(self.path_of_tokens(kept_in))
        if kept_in == "file":
            return store
        return EncryptedStore(store, keys.made_key(self.folder) if make_key else keys.known_key())

    def accounts(self) -> list[Account]:
        """Return who is signed in, the last who did so first. Raises `StoreError`."""
        content = _private_file.read(self._path)
        if content is None:
            return []
        try:
            document: Any = json.loads(content)
            # Before there were several, the document was the one account.
            return [_account(each) for each in document.get("accounts", [document])]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise StoreError(f"{self._path} cannot be read; sign in again to replace it") from None

    def find(self, username: str | None, base_url: str | None) -> Account | None:
        """Return the account of that name at that place, None for any; of several the last that signed in."""
        return next((account for account in self.accounts() if account.is_at(username, base_url)), None)

    def account(self, username: str | None, base_url: str | None) -> Account:
        """Return what `find` does. Raises `NotSignedInError`, naming who is signed in, when there is none."""
        found = self.find(username, base_url)
        if found is not None:
            return found
        who = username or "nobody"
        where = f" at {base_url}" if base_url else ""
        others = ", ".join(map(str, self.accounts()))
        if not others:
            raise NotSignedInError("nobody is signed in, or not any more: nexudus-async login")
        not_here = "is not signed in" if username else "is signed in"
        raise NotSignedInError(f"{who} {not_here}{where}. Signed in: {others}")

    def remember(self, account: Account) -> Account | None:
        """Keep who signed in, ahead of all others; return the entry that it replaces. There is no secret in it."""
        with self._locked():
            try:
                known = self.accounts()
            except StoreError:
                known = []  # it cannot be read
            before = [each for each in known if each.is_at(account.username, account.base_url)]
            self._write([account, *(each for each in known if each not in before)])
        return before[0] if before else None

    def forget(self, account: Account) -> None:
        """Forget who signed in."""
        with self._locked():
            self._write([each for each in self.accounts() if not each.is_at(account.username, account.base_url)])

    def _write(self, accounts: list[Account]) -> None:
        if accounts:
            document = {"accounts": [asdict(account) for account in accounts]}
            _private_file.replace(self._path, json.dumps(document, indent=1).encode())
        else:
            self._path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Generator[None, None, None]:
        with extra("file"):
            from filelock import FileLock  # noqa: PLC0415 - an extra
        _private_file.make_folder(self.folder)
        try:
            with FileLock(self._path.with_name("account.json.lock"), timeout=LOCK_WAIT, mode=_private_file.MODE):
                yield
        except TimeoutError as exc:  # filelock's Timeout is one
            raise StoreError(f"{self._path}: another command holds its lock") from exc


def origin_of(base_url: str) -> str:
    """Return a base URL in the one form in which two are compared. Raises `ConfigurationError`."""
    return str(parse_origin("--base-url", base_url, allow_insecure_http=False))


def same_user(one: str, other: str) -> bool:
    """Tell whether two user names are the same to Nexudus, which does not mind their case."""
    return one.strip().casefold() == other.strip().casefold()


def _account(document: Any) -> Account:
    kept_in: object = document.get("kept_in", "file")
    if kept_in not in ("file", "keyring"):
        raise ValueError("kept nowhere that is known")
    return Account(_text(document["username"]), _text(document["base_url"]), kept_in)


def _platform_folder() -> Path:
    with extra("cli"):
        from platformdirs import user_state_path  # noqa: PLC0415 - an extra
    return user_state_path("nexudus-async", appauthor=False)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("not text")
    return value
