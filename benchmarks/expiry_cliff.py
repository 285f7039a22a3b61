"""The latency of a steady load while the token is refreshed: the token endpoint takes 500 ms to answer.

Use: python benchmarks/expiry_cliff.py [--uvloop] [--json] [--quick] [--draw]

Requests start at fixed times, whether or not the ones before them have been answered, and a latency counts from the
time at which the request was due. Every contestant's token asks for its refresh about `REFRESH` seconds after the
start: the server gives a lifetime to match the margin each of them keeps. `--draw` writes `expiry_cliff.svg`, of one
run of ours and one of the lock's.
"""

import asyncio
import gc
import importlib
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _harness
import _peers

from nexudus_async import RefreshPolicy

PATH = "/api/public/billing/customer"
ENDPOINT = 0.5
"""Seconds that the token endpoint takes."""
REFRESH = 2.0
"""Seconds after the sign-in at which a refresh begins."""
MARGIN = 30.0
"""Seconds before the end at which the peers take a token for expired, by default or by setting."""
RATE = 100
"""Requests a second: httpx manages some hundreds of them on one core, and should not be measured queueing."""
PICTURE = Path(__file__).with_name("expiry_cliff.svg")

_OURS = RefreshPolicy(jitter=0.0)  # the default window of a short token is half its life, which starts at the request
_LONG = 604_799.0


@dataclass(frozen=True)
class Run:
    """One contestant, and the lifetime of the tokens it is given."""

    make: _peers.Contestant
    lifetime: float


RUNS = {
    "TokenSession": Run(lambda origin: _peers.ours(origin, _OURS), 2 * (REFRESH + ENDPOINT)),
    "TokenSession, no refresh": Run(_peers.ours, _LONG),
    "a middleware with a lock": Run(_peers.locked, MARGIN + REFRESH),
    "aiohttp-oauth2-client": Run(_peers.oauth2_client, MARGIN + REFRESH),
    "authlib": Run(_peers.authlib, MARGIN + REFRESH),
    "httpx-auth": Run(_peers.httpx_auth, MARGIN + REFRESH),
}
OURS, BASE, LOCK = "TokenSession", "TokenSession, no refresh", "a middleware with a lock"
Latencies = list[tuple[float, float]]
"""When each request was due, and how long after that it was answered; seconds."""


async def load(ask: _peers.Asker, seconds: float) -> Latencies:
    """Send at a fixed rate, and return the latencies."""
    found: Latencies = []
    begun = time.perf_counter()

    async def one(due: float) -> None:
        await ask(PATH)
        found.append((due, time.perf_counter() - begun - due))

    async with asyncio.TaskGroup() as tasks:
        for number in range(int(seconds * RATE)):
            due = number / RATE
            if (pause := begun + due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            tasks.create_task(one(due))
    return found


def once(run: Run, seconds: float) -> Callable[[], Awaitable[tuple[Latencies, int]]]:
    """Return a round: a new server, a sign-in, and the load. It returns the number of token requests, too."""

    async def measure() -> tuple[Latencies, int]:
        with _harness.server(delay=ENDPOINT, lifetime=run.lifetime) as origin:
            async with run.make(origin) as ask:
                await asyncio.gather(*[ask(PATH) for _ in range(8)])  # connections
                gc.collect()
                latencies = await load(ask, seconds)
                return latencies, json.loads(await ask("/count"))["tokens"]

    return measure


async def main(*, quick: bool) -> _harness.Figures:
    seconds, turns = (3.2, 1) if quick else (3.6, 6)
    names = (OURS, BASE, LOCK) if quick else tuple(RUNS)
    found = await _harness.rounds({name: once(RUNS[name], seconds) for name in names}, turns, warm_up=0)
    base = statistics.median(_high(run) for run, _ in found[BASE])
    return {
        name: _row([latency for run, _ in runs for _, latency in run])
        | {
            "median p99.9 of no refresh": statistics.median(_high(run) for run, _ in runs) / base,
            "token requests": max(tokens for _, tokens in runs),
        }
        for name, runs in found.items()
    }


def _high(run: Latencies) -> float:
    return _harness.percentile([latency for _, latency in run], 0.999)


def _row(latencies: list[float]) -> dict[str, Any]:
    shares = {"p50 ms": 0.5, "p99 ms": 0.99, "p99.9 ms": 0.999, "worst ms": 1.0}
    return {name: _harness.percentile(latencies, share) * 1e3 for name, share in shares.items()}


async def draw() -> None:
    """Draw one run of ours and one of the lock's."""
    import matplotlib as mpl  # noqa: PLC0415 - only the picture needs it

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "nexudus-async", "svg.fonttype": "none", "font.size": 10})
    pyplot: Any = importlib.import_module("matplotlib.pyplot")  # its types are partly unknown

    runs = {name: (await once(RUNS[name], 3.6)())[0] for name in (LOCK, OURS)}
    figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    for (name, run), (colour, marker) in zip(runs.items(), (("#b5483a", "x"), ("#2b6cb0", "o")), strict=True):
        places, heights = zip(*((due - REFRESH, latency * 1e3) for due, latency in run), strict=True)
        style: dict[str, Any] = {"color": colour, "marker": marker, "s": 11, "linewidths": 0.8}
        axes.scatter(places, heights, label=name, **style)
    axes.set(xlabel="seconds after the refresh fell due", ylabel="latency, ms", yscale="log", xlim=(-1.0, 1.6))
    axes.set_yticks([1, 10, 100, 500], labels=["1", "10", "100", "500"])
    axes.axvspan(
        0.0, ENDPOINT, color="#888888", alpha=0.15, linewidth=0, label="the token endpoint has not answered yet"
    )
    axes.set_title(f"{RATE} requests a second, and a token endpoint that takes {ENDPOINT * 1e3:.0f} ms", fontsize=10)
    axes.legend(loc="upper right", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    parser = _harness.options(__doc__, loops=True)
    parser.add_argument("--draw", action="store_true", help=f"draw {PICTURE.name} instead")
    given = parser.parse_args()
    if given.draw:
        _harness.run(draw(), on_uvloop=given.uvloop)
    else:
        figures = _harness.run(main(quick=given.quick), on_uvloop=given.uvloop)
        _harness.show("through a refresh", figures, as_json=given.json, on_uvloop=given.uvloop)
