"""Encryption around another store."""

import json
from contextlib import AbstractAsyncContextManager, suppress
from typing import NoReturn

from nexudus_async.errors import ConfigurationError, StoreError

from ._foreign import extra
from ._protocol import KeepsConnections, StoredToken, TokenStore
from ._record import parse

__all__ = ["EncryptedStore"]


class EncryptedStore:
    """Keeps the records in `inner`, their payloads encrypted and authenticated by Fernet. Needs the extra `crypto`.

    inner: the store that keeps them. It sees the keys and the generations, nothing else.
    keys: from `Fernet.generate_key()`, as str or bytes. The first encrypts, all decrypt: to rotate, give every
        process (old, new), then every one (new, old), and when each record has been saved again, (new). A process
        that lacks the newest key takes the record for unreadable and replaces it.

    The store's key and the generation are encrypted along with the payload and compared by `load`: a record moved to
    another key, or given another generation, is refused. An older copy of the same record cannot be told from a
    current one. Raises `StoreError` for what cannot be decrypted, plain text included, and `ConfigurationError` for a
    key of the wrong form. The cost is some ten microseconds. Cannot be pickled.
    """

    def __init__(self, inner: TokenStore, *keys: str | bytes) -> None:
        with extra("crypto"):
            from cryptography.fernet import Fernet, InvalidToken, MultiFernet  # noqa: PLC0415 - an extra
        self._inner = inner
        self._count = len(keys)
        self._invalid: type[Exception] = InvalidToken
        fernet = None
        with suppress(ValueError, TypeError):  # for no key at all, too
            fernet = MultiFernet([Fernet(key) for key in keys])
        if fernet is None:  # out of the handler: some of those errors carry the key
            raise ConfigurationError("pass one or more keys, each made by cryptography.fernet.Fernet.generate_key()")
        self._fernet = fernet

    async def load(self, key: str) -> StoredToken | None:
        sealed = await self._inner.load(key)
        if sealed is None:
            return None
        payload = self._open(key, sealed)
        if payload is None:
            raise StoreError("the stored record cannot be decrypted with these keys; the next save replaces it")
        return StoredToken(sealed.generation, payload)

    async def save(self, key: str, record: StoredToken) -> None:
        await self._remove_unreadable(key)
        await self._inner.save(key, StoredToken(record.generation, self._seal(key, record)))

    async def clear(self, key: str) -> None:
        await self._inner.clear(key)

    def refresh_lock(self, key: str) -> AbstractAsyncContextManager[None]:
        return self._inner.refresh_lock(key)

    async def disconnect(self) -> None:
        if isinstance(self._inner, KeepsConnections):
            await self._inner.disconnect()

    def __repr__(self) -> str:
        return f"<EncryptedStore, keys: {self._count}, in {self._inner!r}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an EncryptedStore holds its keys; make one in each process")

    def _seal(self, key: str, record: StoredToken) -> str:
        content = json.dumps([key, record.generation, record.payload])
        return self._fernet.encrypt(content.encode()).decode()

    def _open(self, key: str, sealed: StoredToken) -> str | None:
        """Return the payload, or None when it is not what this store sealed under this key and generation."""
        try:
            content = parse(self._fernet.decrypt(sealed.payload.encode()))
        except (self._invalid, ValueError):
            return None
        match content:
            case [str() as name, int() as generation, str() as payload] if (name, generation) == (
                key,
                sealed.generation,
            ):
                return payload
            case _:
                return None

    async def _remove_unreadable(self, key: str) -> None:
        # Its generation is not to be believed, but `inner` would, and refuse every save until it is passed.
        try:
            sealed = await self._inner.load(key)
        except StoreError:
            return  # what `inner` cannot read it replaces; if it is down, its save says so
        if sealed is not None and self._open(key, sealed) is None:
            await self._inner.clear(key)
