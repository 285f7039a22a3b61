"""What the command line keeps between two commands: who signed in where, and, in a `FileStore`, the tokens."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexudus_async._oauth.endpoint import account_key
from nexudus_async._session import TokenSession
from nexudus_async._validation import parse_origin
from nexudus_async.errors import LoginRequiredError, StoreError
from nexudus_async.stores import (
    FileStore,
    _private_file,  # pyright: ignore[reportPrivateUsage] - this package's own
)
from nexudus_async.stores._record import Record, decode
from nexudus_async.stores._support import extra

__all__ = ["Account", "State", "record_of"]

FOLDER_VARIABLE = "NEXUDUS_STATE_DIR"


@dataclass(frozen=True, slots=True)
class Account:
    """Who signed in, and where."""

    username: str
    base_url: str

    @property
    def key(self) -> str:
        """What the store files the account's tokens under."""
        return account_key(parse_origin("base_url", self.base_url, allow_insecure_http=True), self.username, None)

    def session(self, store: FileStore) -> TokenSession:
        """Return a session that lives on the stored tokens: there is no password after `login`."""
        return TokenSession(store=store, account=self.username, base_url=self.base_url)


class State:
    """The folder with both files: NEXUDUS_STATE_DIR, or the platform's own place for such things."""

    def __init__(self) -> None:
        given = os.environ.get(FOLDER_VARIABLE)
        self.folder = Path(given).expanduser().absolute() if given else _platform_folder()
        self._path = self.folder / "account.json"

    @property
    def store(self) -> FileStore:
        """Where the tokens are."""
        return FileStore(self.folder / "tokens.json")

    def account(self, base_url: str | None = None) -> Account:
        """Return who signed in, at another place if `base_url` says so. Raises `LoginRequiredError` for nobody."""
        remembered = self._recall()
        if remembered is None:
            raise LoginRequiredError("nobody is signed in")
        return remembered if base_url is None else Account(remembered.username, base_url)

    def remember(self, account: Account) -> None:
        """Keep who signed in, for the other commands. There is no secret in it."""
        _private_file.make_folder(self.folder)
        document = {"username": account.username, "base_url": account.base_url}
        _private_file.replace(self._path, json.dumps(document, indent=1).encode())

    def forget(self, account: Account) -> None:
        """Forget who signed in, if it is this account."""
        if self._recall() == account:
            self._path.unlink(missing_ok=True)

    def _recall(self) -> Account | None:
        content = _private_file.read(self._path)
        if content is None:
            return None
        try:
            document: Any = json.loads(content)
            return Account(_text(document["username"]), _text(document["base_url"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise StoreError(f"{self._path} cannot be read; sign in again to replace it") from None


async def record_of(account: Account, store: FileStore) -> Record | None:
    """Return what the store knows of the account, as it is: nothing is refreshed. Raises `StoreError`."""
    stored = await store.load(account.key)
    try:
        return None if stored is None else decode(stored, account.key)
    except ValueError as exc:
        raise StoreError(str(exc)) from None


def _platform_folder() -> Path:
    with extra("cli"):
        from platformdirs import user_state_path  # noqa: PLC0415 - an extra
    return user_state_path("nexudus-async", appauthor=False)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("not text")
    return value
