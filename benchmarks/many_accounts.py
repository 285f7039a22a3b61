"""What an idle account costs: thousands of `TokenSession`s over one shared `aiohttp.ClientSession`.

Use: python benchmarks/many_accounts.py [--json] [--quick]

Memory is what Python has allocated (tracemalloc), measured in a run of its own, because watching takes time.
"""

import asyncio
import time
import tracemalloc

import _harness
import aiohttp

from nexudus_async import PasswordCredentials, TokenSession

AT_ONCE = 50
"""Sign-ins at a time."""


async def _sign_in(sessions: list[TokenSession]) -> None:
    waiting = iter(sessions)

    async def work() -> None:
        for session in waiting:
            await session.token()

    await asyncio.gather(*[work() for _ in range(AT_ONCE)])
    await asyncio.sleep(0.1)  # the last renewals end after their outcome


async def of(number: int, origin: str) -> dict[str, dict[str, float]]:
    """Make them, sign them in, and return what each of the two took, a session."""
    figures: dict[str, dict[str, float]] = {"made": {}, "signed in": {}}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        memory, cpu = tracemalloc.get_traced_memory()[0], time.process_time()

        def note(name: str) -> None:
            figures[name] = {
                "bytes": (tracemalloc.get_traced_memory()[0] - memory) / number,
                "microseconds": (time.process_time() - cpu) / number * 1e6,
                "tasks": len(asyncio.all_tasks()) - 1,
            }

        sessions = [
            TokenSession(PasswordCredentials(f"user{n}@example.com", "made-up"), base_url=origin, client_session=http)
            for n in range(number)
        ]
        note("made")
        await _sign_in(sessions)
        note("signed in")
        for session in sessions:
            await session.close()
    return figures


async def main(*, quick: bool) -> _harness.Figures:
    number = 200 if quick else 10_000
    with _harness.server() as origin:
        await of(100, origin)  # warm-up
        timed = await of(number, origin)
        tracemalloc.start()
        weighed = await of(number, origin)
        tracemalloc.stop()
    return {
        f"{number:,} sessions, {name}": {
            "microseconds each": timed[name]["microseconds"],
            "bytes each": round(weighed[name]["bytes"]),
            "tasks when idle": int(timed[name]["tasks"]),
        }
        for name in timed
    }


if __name__ == "__main__":
    given = _harness.options(__doc__).parse_args()
    _harness.show("accounts", asyncio.run(main(quick=given.quick)), as_json=given.json)
