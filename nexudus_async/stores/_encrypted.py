"""Encryption around another store."""

import json
from contextlib import AbstractAsyncContextManager, suppress
from typing import NoReturn

from nexudus_async._validation import check_methods
from nexudus_async.errors import ConfigurationError, StoreError, UnreadableRecordError

from ._protocol import KeepsConnections, StoredToken, TellsServer, TokenStore
from ._support import extra, parse

UNREADABLE = (
    "the stored record cannot be decrypted with these keys: give every process the same keys. It is never replaced; "
    "if it is damaged, or from before the encryption, remove it with clear()"
)


class EncryptedStore:
    """Keeps the records in `inner`, their payloads encrypted and authenticated by Fernet. Needs the extra `crypto`.

    inner: the store that keeps them. It sees the keys and the generations, nothing else.
    keys: from `Fernet.generate_key()`, as str or bytes. The first encrypts, all decrypt: to rotate, give every
        process (old, new), then every one (new, old), and when each record has been saved again, (new).

    What cannot be decrypted, plain text included, is a `StoreError`: it is never believed, and `save` never replaces
    it. Most likely this process has the wrong keys, and to replace the record would take its tokens from all that
    have the right ones. So a record that is damaged, or older than the encryption, stays until `clear` is called.

    The store's key and the generation are encrypted along with the payload and compared by `load`: a record moved to
    another key, or given another generation, is refused. An older copy of the same record cannot be told from a
    current one. Raises `ConfigurationError` for a key of the wrong form. The cost is some ten microseconds, and a look
    at the record before each save. Cannot be pickled.
    """

    def __init__(self, inner: TokenStore, *keys: str | bytes) -> None:
        with extra("crypto"):
            from cryptography.fernet import Fernet, InvalidToken, MultiFernet  # noqa: PLC0415 - an extra
        check_methods("inner", inner, ("load", "save", "clear", "refresh_lock"), "a token store to keep the records in")
        self._inner = inner
        self._count = len(keys)
        self._invalid: type[Exception] = InvalidToken
        fernet = None
        with suppress(ValueError, TypeError):  # for no key at all, too
            fernet = MultiFernet([Fernet(key) for key in keys])
        if fernet is None:  # out of the handler: some of those errors carry the key
            raise ConfigurationError("pass one or more keys, each made by cryptography.fernet.Fernet.generate_key()")
        self._fernet = fernet

    @property
    def lease(self) -> float | None:
        """Seconds after which a lock whose holder died is free, if `inner` has such a limit."""
        lease: object = getattr(self._inner, "lease", None)
        return lease if isinstance(lease, int | float) else None

    async def load(self, key: str) -> StoredToken | None:
        """Return the record under `key`, decrypted, or None.

        Raises `StoreError` for one that these keys do not decrypt, and as the store inside. Cancelling has no effect
        on the store.
        """
        sealed = await self._inner.load(key)
        return None if sealed is None else StoredToken(sealed.generation, self._open(key, sealed))

    async def save(self, key: str, record: StoredToken) -> None:
        """Keep `record`, encrypted with the first key, unless the one that is there has a higher generation.

        Raises `StoreError` when the one that is there cannot be decrypted, which stays as it is, and as the store
        inside. What not even that can read is replaced. Cancelling may or may not have saved.
        """
        await self._refuse_foreign(key)
        await self._inner.save(key, StoredToken(record.generation, self._seal(key, record)))

    async def clear(self, key: str) -> None:
        """Forget the record under `key`, decrypted or not: the way to be rid of one that no key fits.

        Raises `StoreError` and is cancelled as the store inside.
        """
        await self._inner.clear(key)

    def refresh_lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Return the lock on `key` of the store inside, which needs no keys."""
        return self._inner.refresh_lock(key)

    async def server(self, key: str) -> str | None:
        """Return which server keeps `key` in the store inside; None where that does not tell. Raises as that."""
        return await self._inner.server(key) if isinstance(self._inner, TellsServer) else None

    async def disconnect(self) -> None:
        """Close the connections of the store inside that nobody uses now, if it keeps any. Raises nothing."""
        if isinstance(self._inner, KeepsConnections):
            await self._inner.disconnect()

    def __repr__(self) -> str:
        return f"<EncryptedStore, keys: {self._count}, in {self._inner!r}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an EncryptedStore holds its keys; make one in each process")

    def _seal(self, key: str, record: StoredToken) -> str:
        content = json.dumps([key, record.generation, record.payload])
        return self._fernet.encrypt(content.encode()).decode()

    def _open(self, key: str, sealed: StoredToken) -> str:
        """Return the payload. Raises `StoreError` for what this store did not seal under this key and generation."""
        content: object = None
        with suppress(self._invalid, ValueError):
            content = parse(self._fernet.decrypt(sealed.payload.encode()))
        match content:
            case [str() as name, int() as generation, str() as payload] if (name, generation) == (
                key,
                sealed.generation,
            ):
                return payload
            case _:
                content = None  # this frame is in the traceback
                raise StoreError(UNREADABLE)

    async def _refuse_foreign(self, key: str) -> None:
        """Raise `StoreError` when there is a record that these keys do not decrypt."""
        try:
            sealed = await self._inner.load(key)
        except UnreadableRecordError:
            return  # nobody can read it
        if sealed is not None:
            self._open(key, sealed)
