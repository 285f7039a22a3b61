"""What is remembered of a password that was refused: enough to tell whether there is another one by now."""

import asyncio
import hashlib
import secrets
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from nexudus_async._token import Secret, SecretBytes

if TYPE_CHECKING:
    from anyio import CapacityLimiter

COST: Final = 2**12
"""Of scrypt, with blocks of 1 KiB: 4 MiB and some ten milliseconds of a core (RFC 7914)."""
SIZE: Final = 2
"""Bytes of a fingerprint. It lies in a store, and what was refused may be a good password (a suspended account's, or
one beside a wrong code). 16 bits tell it from another one, with a chance of 1 in 65,536 to be wrong, which costs a
pause; but they fit tens of thousands of a list of likely passwords, so that they prove no guess. For this a smaller
cost will do, and the salt is always the same for an account: under another one each time, 16 bits would add up."""
AT_ONCE: Final = 1
"""Hashes at once in one event loop: a flood of wrong passwords is not to take all cores, or the loop's own threads."""

_limiters: "WeakKeyDictionary[asyncio.AbstractEventLoop, CapacityLimiter]" = WeakKeyDictionary()


class RejectedPassword:
    """The password that was refused last. This process compares a fast hash, a fleet one that may lie in a store.

    key: what the store files the account under.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._process_salt = secrets.token_bytes(16)
        self._digest: bytes | None = None
        self._to_be_hashed: Secret | None = None
        self._hashed: tuple[bytes, str] | None = None
        """The fast hash of the password whose slow one was asked for last, and that: it may be asked for again."""

    def remember(self, password: Secret) -> None:
        """Learn that `password` was refused; it is kept itself until `fingerprint` or `drop`, whichever comes first."""
        self._digest, self._to_be_hashed = self._digest_of(password), password

    def drop(self) -> None:
        """Keep the hash alone."""
        self._to_be_hashed = None

    def is_another(self, password: Secret) -> bool:
        """Tell whether `password` is not the one that was refused."""
        return self._digest_of(password) != self._digest

    async def fingerprint(self) -> str | None:
        """Return the slow hash of what was refused, for the fleet; None when it was asked for already."""
        refused, self._to_be_hashed = self._to_be_hashed, None
        return None if refused is None else await self.fingerprint_of(refused)

    async def fingerprint_of(self, password: Secret) -> str:
        """Return the slow hash of `password`: the same in all processes, and for all passwords alike short."""
        digest = self._digest_of(password)
        if self._hashed is None or self._hashed[0] != digest:
            self._hashed = digest, await _hash(password, self._key)
        return self._hashed[1]

    def _digest_of(self, password: Secret) -> bytes:
        return hashlib.blake2b(_bytes_of(password), key=self._process_salt).digest()


async def _hash(password: Secret, salt: str) -> str:
    from anyio import CapacityLimiter, to_thread  # noqa: PLC0415 - only a fleet needs it, when a password was refused

    limiter = _limiters.setdefault(asyncio.get_running_loop(), CapacityLimiter(AT_ONCE))

    def scrypt() -> str:
        return hashlib.scrypt(_bytes_of(password), salt=salt.encode(), n=COST, r=8, p=1, dklen=SIZE).hex()

    return await to_thread.run_sync(scrypt, limiter=limiter)


def _bytes_of(password: Secret) -> SecretBytes:
    """Return bytes to hash, of text too that UTF-8 cannot encode: a sign-in refuses it later, by name."""
    return SecretBytes(password.encode(errors="surrogatepass"))
