"""What tools make of an error: each shows the local variables of every frame, cut after some 80 characters or whole."""

import asyncio
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar
from urllib.parse import quote_plus

import aiohttp
import loguru
import pytest
import structlog
from rich.traceback import Traceback

from nexudus_async.errors import chain_of

TESTS: Final = Path(__file__).resolve().parent.parent
PIECE: Final = 16
"""Characters of a secret that must be seen nowhere: what is cut off at 80 shows a piece."""
R = TypeVar("R")
Factory = Callable[[], asyncio.AbstractEventLoop]

LOOPS: dict[str, Factory | None] = {"asyncio": None}
"""The event loops to run on. On uvloop a server's bytes may come before the request has been written."""
if sys.platform != "win32":
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop

on_every_loop = pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)


def run(loop: Factory | None, work: Coroutine[Any, Any, R]) -> R:
    """Return what `work` returns, on an event loop of its own."""
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(work)


def by_traceback(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def by_rich(error: BaseException) -> str:
    """Return what its tracebacks show of variables, without the time that colours take."""
    shown: list[str] = []
    for longest in (80, 10_000):
        trace = Traceback.extract(
            type(error), error, error.__traceback__,
            show_locals=True, locals_max_length=1000, locals_max_string=longest,
        )  # fmt: skip
        for stack in trace.stacks:
            shown.append(f"{stack.exc_type}: {stack.exc_value} {getattr(stack, 'notes', '')}")
            shown += [f"{name} = {node}" for frame in stack.frames for name, node in (frame.locals or {}).items()]
    return "\n".join(shown)


def by_structlog(error: BaseException) -> str:
    exc_info = (type(error), error, error.__traceback__)
    return repr(
        [
            structlog.tracebacks.ExceptionDictTransformer(
                show_locals=True, locals_max_string=longest, locals_max_length=1000, use_rich=use_rich
            )(exc_info)
            for longest, use_rich in ((80, True), (10_000, False))
        ]
    )


def by_loguru(error: BaseException) -> str:
    lines: list[str] = []
    logger = loguru.logger
    logger.remove()  # that of standard error
    sink = logger.add(lines.append, diagnose=True, backtrace=False, format="{message}", colorize=False)
    try:
        logger.opt(exception=error).error("failed")
    finally:
        logger.remove(sink)
    return "".join(lines)


def by_pytest(error: BaseException) -> str:
    info = pytest.ExceptionInfo[BaseException].from_exception(error)
    return str(info.getrepr(style="long", showlocals=True, funcargs=True))


RENDERERS: dict[str, Callable[[BaseException], str]] = {
    "traceback": by_traceback,
    "rich": by_rich,
    "structlog": by_structlog,
    "loguru": by_loguru,
    "pytest": by_pytest,
}


def shown_by_tools(error: BaseException) -> dict[str, str]:
    """Return what each tool makes of `error`, but for the frames of the tests, which know the secrets."""
    links = list(chain_of(error))
    for link in links:
        link.__traceback__ = _without_tests(link.__traceback__)
    texts = {name: render(error) for name, render in RENDERERS.items() if error.__traceback__ or name != "pytest"}
    texts["attributes"] = "\n".join(f"{link!r} {link.args!r} {vars(link)!r}" for link in links)
    return texts


def leaks(error: BaseException, secrets: Iterable[str]) -> list[str]:
    """Return which tool shows a piece of which secret: "rich: Pa55..."."""
    pieces = {piece for secret in secrets for piece in (secret[:PIECE], quote_plus(secret)[:PIECE], secret[-PIECE:])}
    return [f"{name}: {piece}" for name, text in shown_by_tools(error).items() for piece in pieces if piece in text]


def _without_tests(frames: TracebackType | None) -> TracebackType | None:
    kept: list[TracebackType] = []
    while frames is not None:
        if TESTS not in Path(frames.tb_frame.f_code.co_filename).parents:
            kept.append(frames)
        frames = frames.tb_next
    result: TracebackType | None = None
    for each in reversed(kept):
        result = TracebackType(result, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return result


def of_a_library(source: str, name: str) -> Any:
    """Return what `source` defines as `name`, as other people's code: its frames are not those of a test."""
    namespace: dict[str, Any] = {"__name__": "a_library", "aiohttp": aiohttp}
    exec(compile(source, "a_library.py", "exec"), namespace)
    return namespace[name]
