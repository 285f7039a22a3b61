"""The command `demo`: what this package is for, in a second or two, against the emulator.

Each step compares what it says with what the emulator itself recorded. Nothing depends on how fast the machine is:
the token endpoint stays silent until every request that began meanwhile has been answered, so that a request which
waited for the refresh would not be slow but missing.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import typer
from rich.table import Table
from rich.text import Text

from nexudus_async._credentials import PasswordCredentials
from nexudus_async._refresh.policy import RefreshPolicy
from nexudus_async._session import TokenSession
from nexudus_async.testing import Fault, Hold, NexudusEmulator

from .loop import run
from .options import Verbose
from .output import console, fail, is_terminal, working
from .words import FAILED

__all__ = ["Finding", "demo", "demonstrate"]

CUSTOMER, TEAMS = "/api/public/billing/customer", "/api/public/teams/my"
TASKS = 1_000
WORKERS = 20
FIRST_LIFETIME = 10.0
"""Seconds. The first token ends soon, the next one in a week."""
POLICY = RefreshPolicy(advisory_window=9.0, jitter=0.0)
"""With that lifetime: refreshed in the background from the first second on, waited for from the ninth."""
SIGN_IN_TAKES = 0.1
"""Seconds: long enough for every task to want the token before it is there."""
SILENCE = 0.3
"""Seconds for which the token endpoint does not answer the refresh."""
PATIENCE = 5.0
"""Seconds after which a request counts as waiting for the refresh."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried, and whether it came out as it should."""

    holds: bool
    text: str


@dataclass(frozen=True, slots=True)
class _Stage:
    emulator: NexudusEmulator
    session: TokenSession
    refresh: Hold

    async def call(self, path: str) -> int:
        async with self.session.get(path) as response:
            await response.read()
            return response.status

    def granted(self, grant: str) -> int:
        """Return how many token requests of one kind the emulator has seen."""
        return sum(record.form.get("grant_type") == grant for record in self.emulator.token_requests)


def demo(_verbose: Verbose = False) -> None:
    """Show in a second or two what this package does.

    It starts a Nexudus of its own on this machine. 1,000 tasks call it at once and share one sign-in; then the token
    is refreshed while others work, and none of them waits. Nothing else is called, and nothing is kept.

    Exit code 1 if something did not come out as it should.
    """
    out = console()
    out.print("Against a Nexudus of its own, on this machine:")

    def tell(finding: Finding) -> None:
        mark = Text("ok ", "green") if finding.holds else Text("NOT", "bold red")
        if not is_terminal():
            out.print(Text.assemble(mark, " ", finding.text))
            return
        columns = Table.grid(padding=(0, 1))
        columns.add_row(mark, finding.text)  # which wraps between words, below its own beginning
        out.print(columns, soft_wrap=False)

    if not run(demonstrate(tell)):
        raise typer.Exit(fail("not everything came out as it should", FAILED))


async def demonstrate(tell: Callable[[Finding], None]) -> bool:
    """Run the steps, tell each finding as it is made, and return whether all of them hold."""
    async with NexudusEmulator() as emulator:
        credentials = PasswordCredentials(emulator.username, emulator.password)
        async with TokenSession(credentials, base_url=emulator.url, policy=POLICY) as session:
            emulator.fail("token", Fault(delay=SIGN_IN_TAKES, members={"expires_in": FIRST_LIFETIME}))
            stage = _Stage(emulator, session, emulator.hold("token", times=1))
            findings: list[Finding] = []
            for under_way, step in STEPS:
                with working(under_way):
                    findings.append(await step(stage))
                tell(findings[-1])
    return all(finding.holds for finding in findings)


async def _share_one_sign_in(stage: _Stage) -> Finding:
    started = time.perf_counter()
    statuses = await asyncio.gather(*[stage.call(CUSTOMER) for _ in range(TASKS)])
    took = time.perf_counter() - started
    answered, sign_ins = statuses.count(200), stage.granted("password")
    return Finding(
        answered == TASKS and sign_ins == 1,
        f"{TASKS:,} tasks called the API at once, with nobody signed in: {answered:,} got their answer "
        f"in {took:.1f} s, by {_several(sign_ins, 'sign-in')}",
    )


async def _refresh_under_load(stage: _Stage) -> Finding:
    load = _Load(stage)
    workers = asyncio.gather(*[load.run() for _ in range(WORKERS)])
    try:
        await stage.refresh.wait()
        began = time.perf_counter()
        await asyncio.sleep(SILENCE)
        load.stopped = True
        async with asyncio.timeout(PATIENCE):
            await workers
        silent = time.perf_counter() - began
    except TimeoutError:
        return Finding(False, "the token was not refreshed in time, or calls waited for that")
    finally:
        workers.cancel()
        stage.refresh.release()
    token = await stage.session.refresh()  # joins the refresh under way
    times = [end - start for start, end in load.answered if start >= began]
    return Finding(
        len(times) >= WORKERS and token.generation == 2 and stage.granted("refresh_token") == 1,
        f"the token was refreshed while {WORKERS} tasks worked: it took {silent:.1f} s, and meanwhile {len(times):,} "
        f"calls were answered, the slowest in {1000 * max(times, default=0.0):.0f} ms; none waited",
    )


async def _call_both_endpoints(stage: _Stage) -> Finding:
    before = len(stage.emulator.requests)
    async with stage.session.get(CUSTOMER, raise_for_status=True) as response:
        customer = await response.json()
    async with stage.session.get(TEAMS, raise_for_status=True) as response:
        teams = await response.json()
    token = await stage.session.token()
    carried = [record.headers.get("Authorization") for record in stage.emulator.requests[before:]]
    names = ", ".join(team["Name"] for team in teams)
    return Finding(
        customer["Email"] == stage.emulator.username and bool(teams) and carried == [token.authorization] * 2,
        f"the new token is good: it got the customer {customer['Email']} and the team {names}",
    )


async def _count(stage: _Stage) -> Finding:
    emulator = stage.emulator
    calls = len(emulator.requests) - len(emulator.token_requests)
    refused = sum(record.status != 200 for record in emulator.requests)
    sign_ins, refreshes = stage.granted("password"), stage.granted("refresh_token")
    reused, at_once = emulator.refresh_tokens_reused, emulator.max_concurrent_token_requests
    return Finding(
        (sign_ins, refreshes, refused, reused, at_once) == (1, 1, 0, 0, 1),
        f"the service counted {_several(sign_ins, 'sign-in')} and {_several(refreshes, 'refresh', 'refreshes')}, "
        f"at most {at_once} at once; {calls:,} calls, {refused} refused; {reused} refresh tokens used twice",
    )


STEPS = (
    (f"calling the API from {TASKS:,} tasks at once", _share_one_sign_in),
    ("refreshing the token while tasks work", _refresh_under_load),
    ("calling with the new token", _call_both_endpoints),
    ("comparing with what the service counted", _count),
)


@dataclass(slots=True)
class _Load:
    """Workers that call without a pause until they are stopped, and when each call was made and answered."""

    stage: _Stage
    stopped: bool = False
    answered: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    async def run(self) -> None:
        while not self.stopped:
            start = time.perf_counter()
            await self.stage.call(CUSTOMER)
            self.answered.append((start, time.perf_counter()))


def _several(number: int, what: str, plural: str = "") -> str:
    return f"{number:,} {what if number == 1 else plural or what + 's'}"
