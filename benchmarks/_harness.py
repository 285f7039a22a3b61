"""What the benchmarks share: a server in another process, rotated rounds, medians and ratios, and the output.

Contestants take turns, and every round begins with another one: who comes first is faster or slower by some percent,
and a machine that is busy for a second then harms all of them alike. A ratio is formed within a round; the median of
the rounds' ratios is what is reported.
"""

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).parent
Figures = dict[str, dict[str, Any]]
T = TypeVar("T")


def options(use: str | None, *, loops: bool = False) -> argparse.ArgumentParser:
    """Return the options that every script has."""
    parser = argparse.ArgumentParser(description=use, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="few and short rounds: shows that it runs, nothing else")
    if loops:
        parser.add_argument("--uvloop", action="store_true", help="run on uvloop instead of asyncio's own loop")
    return parser


def run(main: Coroutine[Any, Any, T], *, on_uvloop: bool = False) -> T:
    """Run a coroutine on a new loop of the wanted kind."""
    factory = None
    if on_uvloop:
        import uvloop  # noqa: PLC0415 - not everywhere

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


@contextmanager
def server(*, delay: float = 0.0, lifetime: float = 604_799.0) -> Generator[str]:
    """Run the server in another process and give its origin."""
    with served_by("_server.py", "--delay", str(delay), "--lifetime", str(lifetime)) as origin:
        yield origin


@contextmanager
def served_by(script: str, *arguments: str) -> Generator[str]:
    """Run a script that prints its port, and ends with its standard input; give its origin."""
    command = [sys.executable, str(HERE / script), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


async def rounds(
    contestants: Mapping[str, Callable[[], Awaitable[T]]], number: int, *, warm_up: int = 1
) -> dict[str, list[T]]:
    """Let the contestants take turns, each round in another order; return what each returned in each round."""
    names = list(contestants)
    found: dict[str, list[T]] = {name: [] for name in names}
    for turn in range(-warm_up, number):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            figure = await contestants[name]()
            if turn >= 0:
                found[name].append(figure)
    return found


def median_ratio(figures: Sequence[float], base: Sequence[float]) -> float:
    """Return the median of the ratios of each round."""
    return statistics.median(mine / theirs for mine, theirs in zip(figures, base, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine(*, on_uvloop: bool = False) -> str:
    """Say what was measured with, in a line."""
    names = ["aiohttp", *(["uvloop"] if on_uvloop else [])]
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    return f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}, {libraries}"


def show(title: str, figures: Figures, *, as_json: bool, on_uvloop: bool = False) -> None:
    """Print one table: a row for each contestant, a column for each figure."""
    if as_json:
        report = {"benchmark": title, "machine": machine(on_uvloop=on_uvloop), "figures": figures}
        print(json.dumps(report, indent=2))
        return
    columns = list(dict.fromkeys(column for row in figures.values() for column in row))
    rows = [[title, *columns], *([name, *(_text(row.get(c)) for c in columns)] for name, row in figures.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print(machine(on_uvloop=on_uvloop), *lines, "", sep="\n")


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
