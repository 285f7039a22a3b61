"""What may be shown of a request: never a secret, at most the last characters of one."""

from collections.abc import Callable, Iterable
from urllib.parse import unquote

_LAST = 4  # characters of a secret, enough to tell two apart
SHOWN = 60  # characters of what somebody wrote, in a message; what is longer is no name, and may be a token
_LONG_ENOUGH = 16  # characters; of a shorter one, four would be too much
_SECRET_NAMES = frozenset(
    {"password", "totp", "token", "access_token", "refresh_token", "authorization", "t", "jwt", "code", "secret"}
)
"""Names of query parameters and fields whose values are secrets, whether this emulator issued them or not."""


def last_four(secret: str) -> str:
    """Return the last characters of a secret behind an ellipsis; of a short one the ellipsis alone."""
    return "…" + (secret[-_LAST:] if len(secret) >= _LONG_ENOUGH else "")


def shown(text: str) -> str:
    """Return what somebody wrote, for a message: in quotes; of a long text the end alone."""
    return repr(text) if len(text) <= SHOWN else last_four(text)


class Masker:
    """Masks by name, and by what `is_secret` knows."""

    def __init__(self, is_secret: Callable[[str], bool]) -> None:
        self._is_secret = is_secret

    def query(self, pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
        """Return the pairs of a query with their secrets masked, as JSON has pairs."""
        return [[self.text(name), self._value(name, value)] for name, value in pairs]

    def path(self, raw: str) -> str:
        """Return a path as it was sent, percent-encoded and so printable, with the secrets in it masked."""
        return "/".join(self._segment(segment) for segment in raw.split("/"))

    def decoded_path(self, path: str) -> str:
        """Return a path that was decoded already, with the secrets in it masked."""
        return "/".join(map(self.text, path.split("/")))

    def text(self, text: str) -> str:
        """Return `text`, masked if it is a secret."""
        return last_four(text) if text and self._is_secret(text) else text

    def remark(self, remark: str | None, pairs: Iterable[tuple[str, str]]) -> str | None:
        """Return a remark about a query with the query's secrets in it masked."""
        if remark is not None:
            for secret in (text for pair in pairs for text in pair if text and self._is_secret(text)):
                remark = remark.replace(secret, last_four(secret))
        return remark

    def authorization(self, value: str | None) -> str | None:
        """Return an `Authorization` header with what follows the scheme masked."""
        if value is None:
            return None
        scheme, _, credentials = value.partition(" ")
        return f"{scheme} {last_four(credentials)}" if credentials else last_four(value)

    def _segment(self, raw: str) -> str:
        text = unquote(raw)
        return last_four(text) if text and self._is_secret(text) else raw

    def _value(self, name: str, value: str) -> str:
        return last_four(value) if name.lower() in _SECRET_NAMES else self.text(value)
