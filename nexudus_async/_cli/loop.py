"""Runs a command's coroutine, so that Ctrl-C ends it quietly whenever it comes."""

import asyncio
import signal
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["run"]

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Do what `asyncio.run` does.

    A Ctrl-C in the middle of making the loop would leave half of one behind, which complains of it on the screen: it
    is held back until the loop is there.
    """
    runner = asyncio.Runner()
    try:
        with _held_back():
            runner.get_loop()
        return runner.run(main)
    finally:
        runner.close()
        main.close()  # one that never began complains, too


@contextmanager
def _held_back() -> Generator[None, None, None]:
    """Let a Ctrl-C count after the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt
