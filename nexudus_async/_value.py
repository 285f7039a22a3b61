"""What most values of the public interface have in common: how they are shown and compared.

They are frozen dataclasses. `dataclass` would write and compile these three methods anew for each, a sixth of the time
that importing the package takes; here they are once, and look at the fields when they are called.
"""

from dataclasses import Field, fields
from typing import Any, ClassVar

__all__ = ["Value"]


class Value:
    """Base of a frozen dataclass with `repr=False, eq=False`: its `repr`, `==` and `hash` are as generated ones."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __repr__(self) -> str:
        shown = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
        return f"{type(self).__qualname__}({shown})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(self._compared())

    def _compared(self) -> tuple[object, ...]:
        return tuple(getattr(self, each.name) for each in fields(self) if each.compare)
