"""How the library is broken for a while: one of its functions, methods or properties is replaced by another.

What replaces it is an ordinary function, whose name says what is wrong. It is called as the original would be, with
the original before all other arguments: most defects are the original with something before it, behind it or missing.
No text of the library is looked at, so nothing but a change of what is replaced makes a mutant out of date; that is
then an error of its own, and not a defect that nobody notices.
"""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from tests.simulation.scenarios import World

__all__ = ["Change", "Mutant", "Mutants", "Original", "applied", "original_of"]

Original: TypeAlias = Callable[..., Any]
_Replacement: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Change:
    """One replacement. owner: the class or module whose `attribute` is replaced."""

    owner: Any
    attribute: str
    replacement: _Replacement

    def __str__(self) -> str:
        return self.replacement.__name__


@dataclass(frozen=True)
class Mutant:
    """A defect. world: in which it shows."""

    name: str
    changes: tuple[Change, ...]
    world: World

    def __str__(self) -> str:
        return self.name


class Mutants(list[Mutant]):
    """Some mutants of one file, in its order. world: in which they show."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world: World = world

    def replacing(self, owner: Any, attribute: str, *, too: bool = False) -> Callable[[_Replacement], _Replacement]:
        """Return a decorator for a function that is to replace `attribute` of `owner`, a class or a module.

        too: it belongs to the mutant before.
        """

        def add(replacement: _Replacement) -> _Replacement:
            change = Change(owner, attribute, replacement)
            if too:
                before = self.pop()
                self.append(Mutant(before.name, (*before.changes, change), self._world))
            else:
                self.append(Mutant(replacement.__name__.strip("_").replace("_", " "), (change,), self._world))
            return replacement

        return add


@contextmanager
def applied(mutant: Mutant) -> Generator[None]:
    """Break the library inside the block."""
    with ExitStack() as stack:
        for change in mutant.changes:
            stack.enter_context(_made(change))
        yield


@contextmanager
def _made(change: Change) -> Generator[None]:
    original = original_of(change)
    setattr(change.owner, change.attribute, _in_place_of(original, change.replacement))
    try:
        yield
    finally:
        setattr(change.owner, change.attribute, original)


def original_of(change: Change) -> object:
    """Return what is there now: the owner's own, or the mutant is out of date."""
    own = cast("dict[str, object]", vars(change.owner))
    return own[change.attribute]


def _in_place_of(original: object, replacement: _Replacement) -> object:
    if isinstance(original, property):
        return property(lambda self: replacement(original.fget, self))  # pyright: ignore[reportUnknownLambdaType]

    def replaced(*args: Any, **kwargs: Any) -> Any:
        return replacement(original, *args, **kwargs)

    return replaced
