"""How the commands print: plain in a pipe, legible on a terminal, what is under way on standard error."""

import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from . import log

__all__ = [
    "NAME",
    "console",
    "examples",
    "fail",
    "in_words",
    "is_terminal",
    "note",
    "own_line",
    "print_json",
    "say",
    "say_json",
    "show_body",
    "working",
]

NAME: Final = "nexudus-async"
COLOURED: Final = 250_000
"""Characters from which on JSON is printed without colour: rich would take seconds, and nobody reads that much."""
LINES: Final = 50
"""Lines that are coloured at a time, so that the first are there at once."""
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))


def console(*, stderr: bool = False) -> Console:
    """Return what to print through: plain in a pipe and where NO_COLOR is set, lines never cut or joined."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def is_terminal(*, stderr: bool = False) -> bool:
    """Tell whether a person reads along; rich's own test can be overruled by variables."""
    return (sys.stderr if stderr else sys.stdout).isatty()


def examples(*lines: str) -> str:
    """Return the end of a command's help."""
    return "\n\n".join(("Examples:" if len(lines) > 1 else "Example:", *lines))


def say(*lines: str) -> None:
    """Print lines on standard output."""
    console().print("\n".join(lines))


def say_json(value: object) -> None:
    """Print a value as one line of JSON; ASCII, so that it goes through every pipe."""
    say(json.dumps(value))


def note(message: str) -> None:
    """Say on one line of standard error what is no failure."""
    line = " ".join(message.split())
    sys.stderr.write(f"{NAME}: {''.join(each if each.isprintable() else '?' for each in line)}\n")


def fail(message: str, code: int) -> int:
    """Say on one line of standard error what went wrong, and return the exit code."""
    note(message)
    return code


def own_line() -> None:
    """Begin a new line on a terminal, which has just shown ^C."""
    if is_terminal(stderr=True):
        sys.stderr.write("\n")


@contextmanager
def working(on: str) -> Generator[Callable[[str], None], None, None]:
    """Show on standard error, if that is a terminal, that something is under way; call the value to say more."""
    if not is_terminal(stderr=True) or log.is_shown():
        yield lambda _: None
        return
    with Console(stderr=True, highlight=False, markup=False).status(on) as status:
        yield lambda more: status.update(f"{on}: {more}")


def show_body(body: bytes, content_type: str) -> None:
    """Print the body of an answer: as it came, byte for byte; on a terminal indented and coloured, if it is JSON."""
    sys.stdout.flush()
    if not is_terminal():
        sys.stdout.buffer.write(body)
        return
    text = _text(body)
    if text is None:
        note(f"{len(body):,} bytes of {content_type} are not for a terminal: use a file or a pipe")
        return
    try:
        print_json(console(), text)
    except (ValueError, RecursionError):
        shown = "".join(each if each.isprintable() or each in "\n\t" else "?" for each in text)
        console().print(shown, end="" if not text or text.endswith("\n") else "\n")


def print_json(to: Console, text: str) -> None:
    """Print JSON indented, and coloured where the terminal has colours and NO_COLOR is not set.

    Raises `ValueError` for other text.
    """
    indented = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    # What JSON leaves as it is may still steer a terminal, or turn the direction of writing round.
    shown = "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in indented)
    coloured = not to.no_color and len(shown) <= COLOURED
    lines = shown.split("\n")
    for start in range(0, len(lines), LINES):
        part = Text("\n".join(lines[start : start + LINES]))
        if coloured:
            JSONHighlighter().highlight(part)
        to.print(part)


def _text(body: bytes) -> str | None:
    """Return the body as text, None for what is none."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def in_words(seconds: float) -> str:
    """Return a time in its largest whole unit, rounded down: what is left is never overstated."""
    for unit, size in _UNITS:
        if (count := int(seconds // size)) > 0:
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{int(seconds)} s"
