"""Secrets of credentials: text, or a callable that gives it when it is needed.

A callable is asked anew for each sign-in, so that a password in a vault is never kept here, and a one-time code is
never an old one.
"""

import inspect
import os
import re
import sys
from collections.abc import Awaitable, Callable

from nexudus_async._token import VISIBLE_ASCII, Secret
from nexudus_async._validation import kind_of
from nexudus_async.errors import ConfigurationError, NexudusAuthError, with_its_place, without_frames

Provider = Callable[[], str | Awaitable[str]]


class _HiddenProvider:
    """A callable whose repr is redacted: that of a `functools.partial`, or of a bound method, may show a secret."""

    __slots__ = ("_provider",)

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def __call__(self) -> str | Awaitable[str]:
        return self._provider()

    def __eq__(self, other: object) -> bool:
        return self._provider == (other._provider if isinstance(other, _HiddenProvider) else other)

    def __hash__(self) -> int:
        return hash(self._provider)

    def __repr__(self) -> str:
        return "<a callable>"


def hidden(value: str | Provider) -> str | Provider:
    """Return the value, or the callable, with a repr that shows nothing of it."""
    return Secret(value) if isinstance(value, str) else _HiddenProvider(value)


def problem_of_token(name: str, value: object) -> str | None:
    """Return what is wrong with a token that was handed over, without showing it; None for text and callables."""
    if callable(value) or (isinstance(value, str) and re.fullmatch(VISIBLE_ASCII, value.strip())):
        return None
    if isinstance(value, str) and value.strip():
        return f"{name} has characters that no token has"
    return f"{name} must be a non-empty str or a callable, not {kind_of_value(value)}"


async def fetch(name: str, source: str | Provider) -> Secret:
    """Return the value that is needed now. Raises `ConfigurationError`, or the callable's own `NexudusAuthError`."""
    if isinstance(source, str):
        return Secret(source)
    handled = sys.exception()
    try:
        value = source()
        if inspect.isawaitable(value):
            value = await value
    except NexudusAuthError as exc:
        raise without_frames(exc, handled)  # noqa: B904 - the same error
    except Exception as exc:  # noqa: BLE001 - the code of whoever made the callable
        cause = without_frames(with_its_place(exc), handled)
        raise ConfigurationError(f"the {name} callable raised {type(exc).__name__}") from cause
    if isinstance(value, str) and value:
        return Secret(value)
    kind = kind_of_value(value)
    del value  # it may be the secret all the same, in another type
    raise ConfigurationError(f"the {name} callable must return a non-empty str, not {kind}")


async def fetch_token(name: str, source: str | Provider) -> Secret:
    """Return a token that was handed over, without the blanks around it. Raises as `fetch`."""
    token = (await fetch(name, source)).strip()
    if re.fullmatch(VISIBLE_ASCII, token):
        return Secret(token)
    del token
    raise ConfigurationError(f"the {name} callable must return a token: it gave characters that no token has")


def variable(name: str) -> str:
    """Return the value of an environment variable. Raises `ConfigurationError` that names it."""
    value = os.environ.get(name)
    if not value:
        raise ConfigurationError(f"set the environment variable {name}")
    return value


def kind_of_value(value: object) -> str:
    """Return what kind of thing a value is, as `kind_of`; of text without any it says so."""
    return "an empty str" if isinstance(value, str) and not value.strip() else kind_of(value)
