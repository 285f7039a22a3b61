"""The token, and text and bytes that do not show themselves.

A `Token` holds facts only: whether it is still fresh depends on a clock and a policy, and is computed in
`_refresh/policy.py`. A `Secret` cannot be printed by accident: its `repr` is redacted, which covers containers,
dataclasses, aiohttp's `repr(ClientResponseError)` and tools that show the local variables of a traceback. So is the
repr of every piece and every changed copy that its methods give: such tools print the first 80 characters. The value
itself is an ordinary `str` or `bytes`, because it has to be sent: what formats it, joins it to others, or asks for it
by `str()` or `bytes()` gets plain text. Copying gives the same object; pickling is refused.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, cast

__all__ = ["MAX_LIFETIME", "VISIBLE_ASCII", "Secret", "SecretBytes", "Token", "can_be_sent"]

VISIBLE_ASCII: Final = r"[\x21-\x7e]+"
"""What a token may consist of (RFC 6749, appendix A.12 and A.17), but for spaces.

Text, as all patterns of this package: `re` compiles it once, at its first use, and an import does not wait for that."""

MAX_LIFETIME: Final = 10 * 366 * 86400.0
"""Seconds. More than ten years is a mistake, such as a date in place of a duration, and would overflow dates."""

_REDACTED = "'***'"


class Secret(str):
    """A `str` whose repr is redacted, as is that of every piece of it. What encodes it gives `SecretBytes`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return _REDACTED

    def __iter__(self) -> Iterator[str]:
        return map(Secret, super().__iter__())

    def __radd__(self, before: str) -> "Secret":
        return Secret(f"{before}{self}") if isinstance(before, str) else NotImplemented

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Secret":
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


class SecretBytes(bytes):
    """A `bytes` whose repr is redacted, as is that of every piece of it. What decodes it gives a `Secret`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return _REDACTED

    def __radd__(self, before: bytes) -> "SecretBytes":
        return SecretBytes(b"".join((before, self))) if isinstance(before, bytes | bytearray) else NotImplemented

    def __copy__(self) -> "SecretBytes":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "SecretBytes":
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


_OF_BOTH: Final = (
    "__add__", "__getitem__", "__getnewargs__", "__mod__", "__mul__", "__rmod__", "__rmul__",
    "capitalize", "center", "expandtabs", "join", "ljust", "lower", "lstrip", "partition", "removeprefix",
    "removesuffix", "replace", "rjust", "rpartition", "rsplit", "rstrip", "split", "splitlines", "strip", "swapcase",
    "title", "translate", "upper", "zfill",
)  # fmt: skip
_OF_TEXT: Final = ("casefold", "encode", "format", "format_map")
_OF_BYTES: Final = ("decode", "hex")
"""The methods that give a piece or a changed copy. `__str__`, `__bytes__` and `__format__` are asked for by name."""


def _hide_pieces(kind: type[str | bytes], names: Iterable[str]) -> None:
    """Let these methods of `kind` give secrets. C code that reads the value itself, as aiohttp's does, is as fast."""
    for name in names:
        setattr(kind, name, _hiding(getattr(kind.__base__, name)))


def _hiding(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def hidden(*args: Any, **kwargs: Any) -> Any:
        return _hidden(method(*args, **kwargs))

    return hidden


def _hidden(value: Any) -> Any:
    """Return the result of a secret's method, with every text and every bytes in it made a secret."""
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, bytes):
        return SecretBytes(value)
    if isinstance(value, list | tuple):
        pieces = map(_hidden, cast("Iterable[Any]", value))
        return list(pieces) if isinstance(value, list) else tuple(pieces)
    return value


_hide_pieces(Secret, (*_OF_BOTH, *_OF_TEXT))
_hide_pieces(SecretBytes, (*_OF_BOTH, *_OF_BYTES))


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """One access token and what came with it (RFC 6749, section 5.1).

    access_token: what `authorization` carries. Secret.
    refresh_token: what brings its successor, or None. Secret, and good for one use.
    token_type: "bearer".
    client_id: the value of the `client_id` header it was issued to; a refresh must repeat it.
    lifetime: seconds, counted from the sending of the request that brought it.
    expires_at: the end of that lifetime, an aware datetime.
    generation: 0 as a source gives it. A manager counts: 1 for its first token, and more for each that follows.

    Safe to share between tasks and threads. `repr` and `str` show no secret; pickling is refused:
    to keep a token, pass it through `to_dict` and look after the result as one looks after a password.
    """

    access_token: str = dataclasses.field(repr=False)
    refresh_token: str | None = dataclasses.field(repr=False)
    token_type: str
    client_id: str | None
    lifetime: float
    expires_at: datetime
    generation: int = 0
    authorization: str = dataclasses.field(init=False, repr=False, compare=False)
    """The value of the `Authorization` header: "Bearer " and the access token (RFC 6750, section 2.1)."""

    def __post_init__(self) -> None:
        if self.expires_at.tzinfo is None:
            raise ValueError("expires_at must be an aware datetime, such as datetime.now(UTC)")
        put = object.__setattr__
        put(self, "access_token", Secret(self.access_token))
        put(self, "refresh_token", Secret(self.refresh_token) if self.refresh_token else None)
        put(self, "authorization", Secret(f"Bearer {self.access_token}"))

    def to_dict(self) -> dict[str, Any]:
        """Return the token as plain data that JSON can hold. The result contains both secrets."""
        return {
            "access_token": str(self.access_token),
            "refresh_token": None if self.refresh_token is None else str(self.refresh_token),
            "token_type": self.token_type,
            "client_id": self.client_id,
            "lifetime": self.lifetime,
            "expires_at": self.expires_at.timestamp(),
            "generation": self.generation,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Token":
        """Return the token that `to_dict` has described. Raises `ValueError` for anything else, naming no value."""
        try:
            return cls(
                access_token=_text(data["access_token"]),
                refresh_token=None if data["refresh_token"] is None else _text(data["refresh_token"]),
                token_type=_text(data["token_type"]),
                client_id=None if data["client_id"] is None else _text(data["client_id"]),
                lifetime=float(data["lifetime"]),
                expires_at=datetime.fromtimestamp(data["expires_at"], UTC),
                generation=int(data["generation"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError, OSError) as exc:
            kind = type(exc).__name__
        del data  # tools that report errors show the local variables of this frame
        raise ValueError(f"not the data of a token ({kind})")

    def __copy__(self) -> "Token":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Token":
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Token holds secrets and cannot be pickled; use to_dict() and keep the result safe")


def can_be_sent(token: Token) -> bool:
    """Tell whether a header can carry its tokens and its `client_id`."""
    credentials = [token.access_token, token.refresh_token or "-"]
    client_id = token.client_id or ""
    visible = all(re.fullmatch(VISIBLE_ASCII, each) for each in credentials)
    return visible and client_id.isascii() and client_id.isprintable()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value
