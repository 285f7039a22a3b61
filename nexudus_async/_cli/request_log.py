"""The emulator's request log: a line for each request, written where nobody can hold the emulator up."""

import queue
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, TextIO

from rich.console import Console
from rich.text import Text

from nexudus_async.testing import Served

__all__ = ["RequestLog"]

WAITING: Final = 1_000
"""Lines that wait to be written; further ones are dropped."""
PATIENCE: Final = 1.0
"""Seconds to wait for the last lines at the end."""


class RequestLog:
    """Writes lines in a thread: a pipe that nobody empties would stop the emulator in the middle of somebody's test."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._lines: queue.Queue[Text | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._put(None)
        self._thread.join(PATIENCE)

    def add(self, served: Served) -> None:
        """Log one request: when, method, path, status, milliseconds, who. There is no secret in it."""
        words = "".join(each if each.isprintable() else "?" for each in str(served))
        self._put(Text.assemble((time.strftime("%H:%M:%S "), "dim"), (words, _style(served.status))))

    def _put(self, line: Text | None) -> None:
        with suppress(queue.Full):
            self._lines.put_nowait(line)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._console.print(line)
                self._console.file.flush()
            except (OSError, ValueError):  # whoever read it has gone
                return


def _style(status: int | None) -> str:
    if status is None or status >= 500:
        return "red"
    return "yellow" if status >= 400 else ""
