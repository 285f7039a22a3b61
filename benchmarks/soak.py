"""A soak: one session, 500 workers, tokens that live one second, and a service of which a third of the answers fail.

    python benchmarks/soak.py --seconds 600 --json

The service is the emulator, in a process of its own, on real sockets. Workers send requests one after the other, some
with deadlines so short that they are cancelled at any moment. What must hold, or the exit code is 1:

- no refresh token is used twice. The service counts: a refresh token that comes again although its answer was
  delivered whole or was a refusal, a third time after a lost answer, or more than 10 s after it. What it counts apart
  as allowed is the one prompt replay after a lost answer, and another try after a 409, 429 or a whole 5xx.
- never two token requests at once, as the service sees it;
- requests fail only with errors of aiohttp or of this package, and after the close no task is left;
- memory, tasks and descriptors do not grow between the end of the warm-up and the end.

What the numbers mean: by the default policy a token of one second is refreshed after 0.5 to 0.6 s, and callers begin to
wait after 0.9 s. So there is a sign-in or refresh about 1.5 times a second, hundreds of thousands of times more often
than with real tokens, each with one chance in three to fail. A refresh that fails is tried again at the latest when the
token ends; then everybody fails at once with the remembered error, for pauses of 0.5, 1 and 2 s, of 5 s after half a
minute, each followed by one more try: with tokens this short there is nothing to serve meanwhile. Failed requests
therefore say how bad the service is, not how bad the library is.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from nexudus_async import PasswordCredentials, TokenSession
from nexudus_async.testing import Fault, FaultPlan, NexudusEmulator

TOKEN_LIFETIME = 1
FAULTY = 1 / 3
REPLAY_WITHIN = 10.0
PATH = "/api/public/billing/customer"
MEMORY_SLACK = 24 * 2**20
"""Bytes that may come between the end of the warm-up and the end: allocators and pools have their moods."""
DESCRIPTOR_SLACK = 100
"""Connections of the pool that happen to be open: there may be as many as workers at first, 100 are the limit."""

TOKEN_FAULTS: dict[str, Callable[[], Fault]] = {
    "lost before": lambda: Fault.dropped(applied=False),
    "lost": lambda: Fault.dropped(applied=True),
    "lost, truncated": Fault.truncated,
    "lost, malformed": lambda: Fault.answer(200, "}{", applied=True),
    "kept, 500": lambda: Fault.json({"Message": "An error has occurred."}, 500),
    "kept, 502": lambda: Fault.html(502),
    "kept, 409": lambda: Fault.throttled(1),
    "kept, 429": lambda: Fault.throttled(1, 429),
    "delayed": lambda: Fault.delayed(random.uniform(0.05, 1.2)),
    "refused": lambda: Fault.json({"error": "invalid_grant"}, 400),
}
UNPROCESSED = ("kept, 409", "kept, 429")
"""Throttled: as if never sent."""
API_FAULTS: tuple[Callable[[], Fault], ...] = (
    lambda: Fault.dropped(applied=True),
    Fault.truncated,
    lambda: Fault.json({"Message": "An error has occurred."}, 500),
    lambda: Fault.html(502),
    lambda: Fault.json({"Message": "Access Denied"}, 401),
    lambda: Fault.delayed(random.uniform(0.01, 0.8)),
)


THROTTLED = 1 / 1000
"""Of the faulty answers to requests. More of them, and the session would stand still all the time, as each one asks."""


# The service, in a process of its own


@dataclass
class Sent:
    """One token request. what: the fault it met, or "" for the service's own answer."""

    refreshes: bool
    what: str = ""
    ended: float = 0.0


@dataclass
class Audit:
    """What the service saw of the token requests."""

    token_requests: int = 0
    at_once: int = 0
    most_at_once: int = 0
    reused: Counter[str] = field(default_factory=Counter[str])
    allowed: Counter[str] = field(default_factory=Counter[str])
    sendings: dict[str, list[Sent]] = field(default_factory=dict[str, list[Sent]])

    def begin(self, refresh_token: str) -> Sent:
        self.token_requests += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        sent = Sent(refreshes=bool(refresh_token))
        if refresh_token:
            before = self.sendings.setdefault(refresh_token, [])
            if before:
                verdict, allowed = self._judge(before)
                (self.allowed if allowed else self.reused)[verdict] += 1
            before.append(sent)
        if len(self.sendings) > 10_000:
            self.sendings = dict(list(self.sendings.items())[-5_000:])
        return sent

    def _judge(self, before: list[Sent]) -> tuple[str, bool]:
        last = before[-1]
        before = [each for each in before if each.what not in UNPROCESSED]
        in_doubt = [each for each in before if not each.what.startswith("kept")]
        if not in_doubt:
            return f"after {last.what.removeprefix('kept, ')}", True
        if not all(each.what.startswith("lost") for each in in_doubt):
            return "after it was answered", False
        if len(in_doubt) > 1 or before[-1] is not in_doubt[0]:
            return "after its replay", False
        late = time.monotonic() - in_doubt[0].ended > REPLAY_WITHIN
        return ("late", False) if late else ("the one replay", True)

    def end(self, sent: Sent) -> None:
        self.at_once -= 1
        sent.ended = time.monotonic()


_sent: ContextVar[Sent | None] = ContextVar("sent", default=None)


class RandomFaults(FaultPlan):
    """A third of the answers fail."""

    def take(self, *places: str) -> Fault | None:
        if random.random() > FAULTY:
            return None
        if "token" not in places:
            return Fault.throttled(1) if random.random() < THROTTLED else random.choice(API_FAULTS)()
        sent, name = _sent.get(), random.choice(list(TOKEN_FAULTS))
        assert sent is not None
        if name == "refused" and not sent.refreshes:
            name = "delayed"  # else a few hours' worth of wrong passwords would latch the credentials
        sent.what = name
        return TOKEN_FAULTS[name]()


async def serve(pipe: Connection) -> None:
    audit = Audit()
    async with NexudusEmulator(lifetime=TOKEN_LIFETIME) as emulator:
        service: Any = vars(emulator)["_service"]
        service.faults = RandomFaults()
        handle: Callable[[web.Request], Awaitable[web.StreamResponse]] = service.handle

        async def audited(request: web.Request) -> web.StreamResponse:
            if request.path != "/api/token":
                return await handle(request)
            form = await request.post()
            sent = audit.begin(str(form.get("refresh_token", "")))
            _sent.set(sent)
            try:
                return await handle(request)
            finally:
                audit.end(sent)

        service.handle = audited
        pipe.send((emulator.url, emulator.username, emulator.password))
        stop = asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        while not stop.done():
            await asyncio.wait([stop], timeout=1)
            emulator.reset_record()
    pipe.send(
        {
            "token_requests": audit.token_requests,
            "most_token_requests_at_once": audit.most_at_once,
            "refresh_tokens_reused": dict(audit.reused),
            "refresh_tokens_sent_again_as_allowed": dict(audit.allowed),
        }
    )


def run_service(pipe: Connection) -> None:
    asyncio.run(serve(pipe))


# The client


@dataclass
class Tally:
    served: int = 0
    failed: Counter[str] = field(default_factory=Counter[str])
    unexpected: Counter[str] = field(default_factory=Counter[str])


async def work(session: TokenSession, tally: Tally, end: float) -> None:
    while time.monotonic() < end:
        deadline = random.choice((30.0, 30.0, random.uniform(0.001, 0.05), random.uniform(0.05, 1.0)))
        try:
            async with asyncio.timeout(deadline), session.get(PATH) as response:
                await response.read()
                if response.status == 200:
                    tally.served += 1
                else:
                    tally.failed[f"answered {response.status}"] += 1
        except TimeoutError:
            tally.failed["cancelled by its deadline"] += 1
        except aiohttp.ClientError as error:
            tally.failed[type(error).__name__] += 1
        except Exception as error:  # noqa: BLE001 - it is counted, and fails the soak
            tally.unexpected[repr(error)] += 1
        await asyncio.sleep(random.uniform(0.0, 1.0))


def resources() -> dict[str, int | None]:
    """Return what must not grow: bytes of memory, descriptors (None where the system does not tell), and tasks."""
    statm, descriptors = Path("/proc/self/statm"), Path("/proc/self/fd")
    return {
        "rss": int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else None,
        "descriptors": len(list(descriptors.iterdir())) if descriptors.exists() else None,
        "tasks": len(asyncio.all_tasks()),
    }


async def soak(url: str, username: str, password: str, seconds: float, workers: int) -> dict[str, Any]:
    tally = Tally()
    session = TokenSession(PasswordCredentials(username, password), base_url=url)
    warm_up = min(30.0, seconds * 0.2)
    end = time.monotonic() + seconds
    async with session:
        tasks = [asyncio.create_task(work(session, tally, end)) for _ in range(workers)]
        await asyncio.sleep(warm_up)
        at_start = resources()
        await asyncio.sleep(seconds - warm_up - 0.5)
        at_end = resources()
        await asyncio.gather(*tasks)
        statistics = session.statistics()
    await asyncio.sleep(0.1)
    return {
        "seconds": seconds,
        "workers": workers,
        "requests_served": tally.served,
        "requests_failed": dict(tally.failed.most_common()),
        "unexpected_errors": dict(tally.unexpected),
        "sign_ins": statistics.sign_ins,
        "refreshes": statistics.renewals,
        "failed_refreshes": statistics.failures,
        "rejections": statistics.rejections,
        "after_warm_up": at_start,
        "at_end": at_end,
        "tasks_left": len(asyncio.all_tasks()) - 1,
    }


def broken(report: dict[str, Any]) -> list[str]:
    """Return which musts do not hold."""
    start, end = report["after_warm_up"], report["at_end"]

    def grows(what: str, slack: int) -> bool:
        return start[what] is not None and end[what] > start[what] + slack

    checks = {
        "refresh tokens were reused": bool(report["refresh_tokens_reused"]),
        "token requests at once": report["most_token_requests_at_once"] != 1,
        "unexpected errors": bool(report["unexpected_errors"]),
        "nothing was served": not report["requests_served"],
        "tasks are left after the close": bool(report["tasks_left"]),
        "memory grows": grows("rss", MEMORY_SLACK),
        "descriptors grow": grows("descriptors", DESCRIPTOR_SLACK),
        "tasks grow": grows("tasks", report["workers"]),
    }
    return [name for name, bad in checks.items() if bad]


def run(seconds: float, workers: int) -> dict[str, Any]:
    """Run the service and the soak, and return the report."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    process = context.Process(target=run_service, args=(other,), daemon=True)
    process.start()
    other.close()
    url, username, password = pipe.recv()
    report = asyncio.run(soak(url, username, password, seconds, workers))
    pipe.send("stop")
    report.update(pipe.recv())
    process.join(10)
    report["broken"] = broken(report)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description="Soak a session on a service of which a third of the answers fail.")
    parser.add_argument("--quick", action="store_true", help="100 workers for five seconds")
    parser.add_argument("--seconds", type=float, default=0, help="how long (600)")
    parser.add_argument("--workers", type=int, default=0, help="how many (500)")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    arguments = parser.parse_args()
    seconds, workers = (5.0, 100) if arguments.quick else (600.0, 500)
    report = run(arguments.seconds or seconds, arguments.workers or workers)
    if arguments.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name.replace('_', ' ')}: {value}")
    return 1 if report["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
