"""The demonstration: what this package is for, in a second or two, against the emulator.

Each step compares what it says with what the emulator itself recorded. Nothing depends on how fast the machine is:
the token endpoint stays silent until every request that began meanwhile has been answered, so that a request which
waited for the renewal would not be slow but missing.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nexudus_async._credentials import PasswordCredentials
from nexudus_async._refresh.policy import RefreshPolicy
from nexudus_async._session import TokenSession
from nexudus_async.testing import Fault, Hold, NexudusEmulator

__all__ = ["Finding", "demonstrate"]

CUSTOMER, TEAMS = "/api/public/billing/customer", "/api/public/teams/my"
COROUTINES = 1_000
WORKERS = 20
FIRST_LIFETIME = 10.0
"""Seconds. The first token ends soon, the renewed one in a week."""
POLICY = RefreshPolicy(advisory_window=9.0, jitter=0.0)
"""With that lifetime: renewed in the background from the first second on, waited for from the ninth."""
SIGN_IN_TAKES = 0.1
"""Seconds: long enough for every coroutine to want the token before it is there."""
SILENCE = 0.3
"""Seconds for which the token endpoint does not answer the renewal."""
PATIENCE = 5.0
"""Seconds after which a request counts as waiting for the renewal."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried, and whether it came out as it should."""

    holds: bool
    text: str


@dataclass(frozen=True, slots=True)
class _Stage:
    emulator: NexudusEmulator
    session: TokenSession
    renewal: Hold

    async def call(self, path: str) -> int:
        async with self.session.get(path) as response:
            await response.read()
            return response.status

    def granted(self, grant: str) -> int:
        """Return how many token requests of one kind the emulator has seen."""
        return sum(record.form.get("grant_type") == grant for record in self.emulator.token_requests)


async def demonstrate(tell: Callable[[Finding], None]) -> bool:
    """Run the steps, tell each finding as it is made, and return whether all of them hold."""
    async with NexudusEmulator() as emulator:
        credentials = PasswordCredentials(emulator.username, emulator.password)
        async with TokenSession(credentials, base_url=emulator.url, policy=POLICY) as session:
            emulator.fail("token", Fault(delay=SIGN_IN_TAKES, members={"expires_in": FIRST_LIFETIME}))
            stage = _Stage(emulator, session, emulator.hold("token", times=1))
            findings: list[Finding] = []
            for step in (_share_one_sign_in, _renew_under_load, _call_both_endpoints, _count):
                findings.append(await step(stage))
                tell(findings[-1])
    return all(finding.holds for finding in findings)


async def _share_one_sign_in(stage: _Stage) -> Finding:
    started = time.perf_counter()
    statuses = await asyncio.gather(*[stage.call(CUSTOMER) for _ in range(COROUTINES)])
    took = time.perf_counter() - started
    answered, sign_ins = statuses.count(200), stage.granted("password")
    return Finding(
        answered == COROUTINES and sign_ins == 1,
        f"{COROUTINES:,} coroutines started without a token: {answered:,} were answered in {took:.1f} s, "
        f"with {_several(sign_ins, 'sign-in')}",
    )


async def _renew_under_load(stage: _Stage) -> Finding:
    load = _Load(stage)
    workers = asyncio.gather(*[load.run() for _ in range(WORKERS)])
    try:
        await stage.renewal.wait()
        began = time.perf_counter()
        await asyncio.sleep(SILENCE)
        load.stopped = True
        async with asyncio.timeout(PATIENCE):
            await workers
        silent = time.perf_counter() - began
    except TimeoutError:
        return Finding(False, "the token was not renewed in time, or requests waited for the renewal")
    finally:
        workers.cancel()
        stage.renewal.release()
    token = await stage.session.refresh()  # joins the renewal under way
    times = [end - start for start, end in load.answered if start >= began]
    return Finding(
        len(times) >= WORKERS and token.generation == 2 and stage.granted("refresh_token") == 1,
        f"the token was renewed under load: for {silent:.1f} s the token endpoint did not answer, and meanwhile "
        f"{len(times):,} requests were, the slowest in {1000 * max(times, default=0.0):.0f} ms; none waited",
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
        f"both endpoints answered to the renewed token: customer {customer['Email']}, team {names}",
    )


async def _count(stage: _Stage) -> Finding:
    emulator = stage.emulator
    calls = len(emulator.requests) - len(emulator.token_requests)
    refused = sum(record.status != 200 for record in emulator.requests)
    sign_ins, renewals = stage.granted("password"), stage.granted("refresh_token")
    reused, at_once = emulator.refresh_tokens_reused, emulator.max_concurrent_token_requests
    return Finding(
        (sign_ins, renewals, refused, reused, at_once) == (1, 1, 0, 0, 1),
        f"the emulator's record: {_several(sign_ins + renewals, 'token request')} "
        f"({_several(sign_ins, 'sign-in')}, {_several(renewals, 'renewal')}), at most {at_once} at once; "
        f"{calls:,} calls, {refused} refused; {reused} refresh tokens sent twice",
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


def _several(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
