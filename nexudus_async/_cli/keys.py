"""The key that the tokens are encrypted with, in the platform's keyring.

The key and not the tokens: Windows takes 1,280 characters at most, and no keyring has a lock or compares before it
writes. So the tokens are in a file, where `FileStore` locks and compares, and the keyring has what opens it.
Everything here may wait for a person who unlocks the keyring: call it outside the event loop, where Ctrl-C ends it.
"""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from nexudus_async._token import Secret
from nexudus_async.errors import StoreError
from nexudus_async.stores import _private_file  # pyright: ignore[reportPrivateUsage] - this package's own

__all__ = ["backend_name", "known_key", "made_key"]

T = TypeVar("T")

SERVICE, NAME = "nexudus-async", "key of the stored tokens"
CHOSEN = "PYTHON_KEYRING_BACKEND"
"""The variable by which a person chooses a backend of keyring's, even one that keyring does not recommend."""
RECOMMENDED, NONE = 1, 0
"""keyring's own priorities: from 1 on it recommends a backend; 0 and less stand for having none."""
LOCK_WAIT = 60.0
"""Seconds to wait for another command that makes the key, whose keyring may be asking a person."""


def backend_name() -> str | None:
    """Return the name of the keyring, None where the platform has none or the extra is not installed."""
    if find_spec("keyring") is None or find_spec("cryptography") is None:
        return None
    try:
        import keyring  # noqa: PLC0415 - an extra

        backend = keyring.get_keyring()
        priority = float(backend.priority)
        name = str(backend.name)
    except Exception:  # noqa: BLE001 - backends are other people's, and raise what their libraries do
        return None
    return name if priority >= RECOMMENDED or (priority > NONE and os.environ.get(CHOSEN)) else None


def known_key() -> Secret:
    """Return the key that `made_key` made. Raises `StoreError`, with the way out, when it cannot be had."""
    if backend_name() is None:
        raise StoreError(
            "the key of the tokens is in a keyring, and there is none here: sign in again, "
            "or, to use it, install 'nexudus-async[keyring]' and run this where your keyring is"
        )
    key = _read()
    if key is None:
        raise StoreError("the key of the tokens is not in the keyring any more: sign in again")
    return key


def made_key(folder: Path) -> Secret:
    """Return the key, a new one if there is none; once whoever asks at the same time. Raises `StoreError`."""
    from cryptography.fernet import Fernet  # noqa: PLC0415 - an extra
    from filelock import FileLock  # noqa: PLC0415 - an extra

    _private_file.make_folder(folder)
    try:
        with FileLock(folder / "keyring.lock", timeout=LOCK_WAIT, mode=_private_file.MODE):
            key = _read()
            if key is None:
                key = Secret(Fernet.generate_key().decode())
                _write(key)
                if _read() != key:
                    raise StoreError("the keyring does not keep what it is given")
    except TimeoutError as exc:
        raise StoreError("another command is asking the keyring for its key") from exc
    return key


def _read() -> Secret | None:
    """Return the key; None when there is none, or something that is no key."""
    import keyring  # noqa: PLC0415 - an extra
    from cryptography.fernet import Fernet  # noqa: PLC0415 - an extra

    found = _asked(lambda: keyring.get_password(SERVICE, NAME))
    try:
        Fernet(found or "")
    except ValueError:
        return None
    return Secret(found)


def _write(key: Secret) -> None:
    import keyring  # noqa: PLC0415 - an extra

    _asked(lambda: keyring.set_password(SERVICE, NAME, str(key)))


def _asked(question: Callable[[], T]) -> T:
    try:
        return question()
    except Exception as exc:  # noqa: BLE001 - as in `backend_name`
        kind = type(exc).__name__
    raise StoreError(f"the keyring cannot be used ({kind})")  # out of the handler: the error's frames hold the key
