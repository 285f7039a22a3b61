"""Time-based one-time passwords (RFC 6238), so that the emulator needs no extra package."""

import base64
import hashlib
import hmac

STEP = 30  # seconds; RFC 6238, section 4.1, and what authenticator apps assume
_DIGITS = 6


def totp_code(secret: str, at: float) -> str:
    """Return the six-digit code of `secret` (base32) at `at`, in seconds since 1970-01-01T00:00Z.

    Raises `ValueError` for a secret that is not base32.
    """
    return code_for_step(secret, int(at // STEP))


def code_for_step(secret: str, step: int) -> str:
    """Return the code of one time step (RFC 4226, section 5.3: HMAC-SHA-1, dynamic truncation)."""
    digest = hmac.digest(_key(secret), step.to_bytes(8, "big"), hashlib.sha1)
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**_DIGITS).zfill(_DIGITS)


def _key(secret: str) -> bytes:
    compact = secret.replace(" ", "").rstrip("=").upper()
    try:
        return base64.b32decode(compact + "=" * (-len(compact) % 8))
    except ValueError:  # binascii's error is one; letters beyond ASCII raise another
        raise ValueError("a TOTP secret is base32 text: letters A to Z and digits 2 to 7") from None
