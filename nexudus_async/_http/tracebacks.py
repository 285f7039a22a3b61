"""Tracebacks without what was sent: tools that show the variables of each frame would show the token."""

from types import TracebackType
from typing import Final

from nexudus_async.errors import chain_of

_FOREIGN: Final = ("aiohttp", "aiohappyeyeballs", "asyncio", "ssl", "uvloop")
"""Packages whose frames hold requests and answers as bytes."""
_WRITER: Final = "aiohttp.http_writer"


def hide_what_was_sent(error: BaseException, until: BaseException | None = None) -> None:
    """Take aiohttp's frames, and those below its writer, out of `error` and all that it came from.

    Its type and text stay, and so do the frames of the caller's own code: a middleware, say, or a body's generator.
    until: what was being handled when the request was made, which is the caller's.
    """
    for link in chain_of(error, until):
        link.__traceback__ = _without_foreign(link.__traceback__)


def _without_foreign(traceback: TracebackType | None) -> TracebackType | None:
    kept: list[TracebackType] = []
    while traceback is not None:
        module: str = traceback.tb_frame.f_globals.get("__name__", "")
        if module == _WRITER:  # what it writes to may be anybody's, and is given the bytes
            break
        if module.partition(".")[0] not in _FOREIGN:
            kept.append(traceback)
        traceback = traceback.tb_next
    result: TracebackType | None = None
    for each in reversed(kept):
        result = TracebackType(result, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return result
