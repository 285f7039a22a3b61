"""What is remembered of a password that was refused: enough to tell whether there is another one by now."""

import asyncio
import hashlib
import secrets

from nexudus_async._token import Secret, SecretBytes


class RejectedPassword:
    """The password that was refused last. This process compares a fast hash, a fleet one that may lie in a store."""

    def __init__(self) -> None:
        self._salt = secrets.token_bytes(16)
        self._digest: bytes | None = None
        self._to_be_hashed: Secret | None = None

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
        """Return a slow hash (RFC 7914) of what was refused, for the fleet; None when it was asked for already."""
        refused, self._to_be_hashed = self._to_be_hashed, None
        return None if refused is None else await _hash(refused, secrets.token_hex(16))

    @staticmethod
    async def fingerprint_like(password: Secret, fingerprint: str) -> str:
        """Return the slow hash of `password` that equals `fingerprint` if it is the same password."""
        return await _hash(password, fingerprint.partition("$")[0])

    def _digest_of(self, password: Secret) -> bytes:
        return hashlib.blake2b(_bytes_of(password), key=self._salt).digest()


async def _hash(password: Secret, salt: str) -> str:
    digest = await asyncio.to_thread(
        hashlib.scrypt, _bytes_of(password), salt=salt.encode(), n=2**14, r=8, p=1, dklen=32
    )
    return f"{salt}${digest.hex()}"


def _bytes_of(password: Secret) -> SecretBytes:
    """Return bytes to hash, of text too that UTF-8 cannot encode: a sign-in refuses it later, by name."""
    return SecretBytes(password.encode(errors="surrogatepass"))
