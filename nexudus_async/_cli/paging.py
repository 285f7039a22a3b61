"""`get --paginate`: the records of a list, page after page, one a line."""

import json
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from yarl import URL

from nexudus_async._events import Listener
from nexudus_async._session import TokenSession
from nexudus_async.errors import ConfigurationError, NexudusAuthError

from . import log
from .calls import send
from .output import console, is_terminal, print_json

__all__ = ["NotPagedError", "print_pages"]


class NotPagedError(NexudusAuthError):
    """Raised when an answer is not the page that was asked for. Its words are for a person at a shell."""


@dataclass(frozen=True, slots=True)
class Page:
    """The records of one page. total: of the whole list, None where that is not said."""

    records: list[Any]
    total: int | None = None
    has_next: bool = False


class _RefusedError(Exception):
    """The API answered with an error."""


async def print_pages(open_session: Callable[[Listener], TokenSession], first: URL) -> str | None:
    """Print all records from the page `first` on; return what the API said when it refused a page, None for nothing."""
    with _printer() as (show, tell):
        try:
            async with open_session(log.listener(tell)) as session:
                async for page in _pages(session, first):
                    show(page)
        except _RefusedError as exc:
            return str(exc)
    return None


async def _pages(session: TokenSession, first: URL) -> AsyncGenerator[Page]:
    try:
        number = int(first.query.get("page", "1"))
    except ValueError:
        raise ConfigurationError("page must be a number") from None
    page = Page([], has_next=True)
    while page.has_next:
        answer = await send(session, "GET", first.update_query(page=str(number)))
        if not answer.ok:
            raise _RefusedError(f"GET {first.path}, page {number}: {answer.status}")
        page = _page(answer.body, number)
        yield page
        number += 1


def _page(body: bytes, number: int) -> Page:
    """Return the page in an answer. Raises `NotPagedError` for another one, which could go on without end."""
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    fields = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    if not isinstance(fields.get("Records"), list):
        raise NotPagedError("the answer has no Records, so it is not a list in pages: leave out --paginate")
    records = cast("list[Any]", fields["Records"])
    current, total = fields.get("CurrentPage", number), fields.get("TotalItems")
    if current != number:
        raise NotPagedError(f"page {number} was asked for, and page {current} came")
    has_next = fields.get("HasNextPage") is True  # only then: a list must not go on without end
    if has_next and not records:
        raise NotPagedError(f"page {number} is empty and says that there are more")
    return Page(records, total if isinstance(total, int) else None, has_next)


@contextmanager
def _printer() -> Generator[tuple[Callable[[Page], None], Callable[[str], None]], None, None]:
    """Give what prints a page, and what says why none comes.

    Plain lines in a pipe, legible on a terminal, with a bar where a person looks on.
    """
    out = console() if is_terminal() else None
    watched = not log.is_shown() and (out is not None or is_terminal(stderr=True))
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    # One console for both on a terminal: the bar stays below what is printed.
    bar = Progress(*columns, console=out or console(stderr=True), transient=True, redirect_stdout=False)
    with bar if watched else nullcontext():  # not `disable=`: older versions of rich print an empty line all the same
        task = bar.add_task("records", total=None)

        def show(page: Page) -> None:
            for record in page.records:
                _print(record, out)
            sys.stdout.flush()
            bar.update(task, advance=len(page.records), total=page.total, description="records")

        yield show, lambda words: bar.update(task, description=words)


def _print(record: Any, out: Console | None) -> None:
    if out is not None:
        print_json(out, json.dumps(record))
        return
    line = json.dumps(record, ensure_ascii=False)
    try:
        content = line.encode()
    except UnicodeEncodeError:  # half a character, which JSON can name and UTF-8 cannot
        content = json.dumps(record).encode()
    sys.stdout.buffer.write(content + b"\n")
