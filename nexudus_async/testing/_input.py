"""Reads JSON that people write, and says what to write instead."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn, cast

from ._masking import shown

MOST: Final = 1e10
"""The largest number of seconds that anything here may take: three centuries, with which clocks can still count."""
_DIGITS: Final = 309  # of whole numbers, the sign counted: with more they are no float
_READABLE: Final = 10**20  # in a message
_TOO_MANY: Final = 20  # digits of a whole number in a query; Python itself refuses to read thousands

_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
}


class InvalidInputError(ValueError):
    """Raised for input that makes no sense; its text says what to write instead."""


def parse_json(text: str, what: str) -> object:
    """Return the value of a JSON text. Raises `InvalidInputError` that says where it is broken.

    Python would take NaN and Infinity, which are no JSON, and numbers that no float can hold; they would come out
    again in the emulator's answers.
    """
    try:
        return cast(object, json.loads(text, parse_constant=_no_number, parse_float=_finite, parse_int=_whole))
    except json.JSONDecodeError as exc:
        raise InvalidInputError(f"{what} is JSON; at line {exc.lineno}, column {exc.colno}: {exc.msg}") from None
    except RecursionError:
        raise InvalidInputError(f"{what} is JSON, and not as deep as that") from None


class Fields:
    """The members of one JSON object. Every method raises `InvalidInputError` for a value of another kind.

    what: what the object is, for messages. known: the members that it may have.
    """

    def __init__(self, value: object, what: str, known: Sequence[str]) -> None:
        if not isinstance(value, Mapping):
            raise InvalidInputError(f"{what} is an object with any of {', '.join(known)}; not {_kind(value)}")
        self._what = what
        self._members = cast(Mapping[str, Any], value)
        for name in self._members:
            if name not in known:
                raise InvalidInputError(
                    f"{what} has no {shown(str(name))}; it may have {', '.join(known) or 'no members'}"
                )

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def all(self) -> Mapping[str, Any]:
        """Return every member, whatever it is."""
        return self._members

    def value(self, name: str) -> object:
        """Return the member whatever it is, None where it is missing."""
        return self._members.get(name)

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text that is not empty; `default` where it is missing, None for none."""
        value = self._members.get(name, default)
        if not isinstance(value, str) or not value:
            raise self._wrong(name, "a text that is not empty", value)
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidInputError(
                f"{name} of {self._what} is a text without half a character, as \\ud800 is"
            ) from None
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a text that is not empty, None for null and where it is missing."""
        return None if self._members.get(name) is None else self.text(name)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._members.get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def number(self, name: str, default: float | None = None, *, least: float = 0.0) -> float:
        """Return a number from `least` to `MOST`; `default` where it is missing, None for none."""
        value = self._members.get(name, default)
        if not _is_number(value) or not least <= value <= MOST:
            raise self._wrong(name, f"a number from {least:g} to {MOST:.0f}", value)
        return float(value)

    def optional_number(self, name: str, *, least: float = 0.0) -> float | None:
        """Return a number from `least` to `MOST`, None for null and where it is missing."""
        return None if self._members.get(name) is None else self.number(name, least=least)

    def whole(self, name: str, default: int | None = None, *, least: int = 1, most: int = 2**53) -> int:
        """Return a whole number; `default` where it is missing, None for none."""
        value = self._members.get(name, default)
        if not _is_number(value) or not least <= value <= most or value != int(value):
            raise self._wrong(name, f"a whole number from {least} to {most}", value)
        return int(value)

    def one_of(self, name: str, choices: Sequence[str], default: str | None = None) -> str:
        value = self._members.get(name, default)
        if value not in choices:
            raise self._wrong(name, f"one of {', '.join(choices)}", value)
        return str(value)

    def listed(self, name: str) -> list[object]:
        """Return a list, an empty one where it is missing."""
        value = self._members.get(name, [])
        if not isinstance(value, list):
            raise self._wrong(name, "a list", value)
        return cast(list[object], value)

    def mapping(self, name: str) -> dict[str, Any]:
        """Return an object, an empty one where it is missing."""
        value = self._members.get(name, {})
        if not isinstance(value, Mapping):
            raise self._wrong(name, "an object", value)
        return dict(cast(Mapping[str, Any], value))

    def _wrong(self, name: str, wanted: str, value: object) -> InvalidInputError:
        got = "missing" if name not in self._members else f"not {_kind(value)}"
        # The value itself is not shown: it may be a secret in the wrong place.
        return InvalidInputError(f"{name} of {self._what} is {wanted}; {'it is ' if got == 'missing' else ''}{got}")


def whole_number(text: str) -> int | None:
    """Return the number that digits stand for; None for other text, and for more digits than anybody needs."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < _TOO_MANY else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _no_number(name: str) -> float:
    raise InvalidInputError(f"JSON has no {name}")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _too_large()


def _whole(digits: str) -> int:
    return int(digits) if len(digits) <= _DIGITS else _too_large()


def _too_large() -> NoReturn:
    raise InvalidInputError("a number is too large: it has at most 308 digits")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if _is_number(value):
        number = cast(float, value)
        return str(number) if isinstance(value, float) or abs(number) <= _READABLE else "one that large"
    return "an empty text" if value == "" else _KINDS.get(type(value), "that")
