"""Text and bytes that do not show themselves: a secret cannot be printed by accident.

`repr` is redacted, which covers containers, dataclasses, aiohttp's `repr(ClientResponseError)` and traceback tools
that show local variables. The value itself is an ordinary `str` or `bytes`, because it has to be sent.
Copying gives the same object; pickling is refused.
"""

from typing import Any, NoReturn

__all__ = ["Secret", "SecretBytes"]

_REDACTED = "'***'"


class Secret(str):
    """A `str` whose repr is redacted."""

    __slots__ = ()

    def __repr__(self) -> str:
        return _REDACTED

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Secret":
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


class SecretBytes(bytes):
    """A `bytes` whose repr is redacted."""

    __slots__ = ()

    def __repr__(self) -> str:
        return _REDACTED

    def __copy__(self) -> "SecretBytes":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "SecretBytes":
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled")
