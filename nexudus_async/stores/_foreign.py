"""Other people's libraries: they may be missing, and their frames hold what they were given."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TypeVar

from nexudus_async.errors import ConfigurationError

__all__ = ["extra", "without_frames"]

E = TypeVar("E", bound=BaseException)


@contextmanager
def extra(name: str) -> Generator[None, None, None]:
    """Import inside. Raises `ConfigurationError` with the line to type when a library is not installed."""
    try:
        yield
    except ImportError as exc:
        missing = exc.name or "a library"
        raise ConfigurationError(f"{missing} is not installed: pip install 'nexudus-async[{name}]'") from exc


def without_frames(error: E) -> E:
    """Return `error`, with those it came from, cut off their frames: their variables are records and passwords."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
