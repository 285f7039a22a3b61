"""Every example in the README runs, as it stands there, against the emulator, and what it points to is there.

A block whose first line names a file (`# test_my_service.py`) is part of a test suite, which pytest runs in a process
of its own. Every other block is run by itself, in a thread with its own event loop, asyncio's and uvloop's: `await` and
`async with` may stand outside a function. What the reader is told to bring is there: NEXUDUS_* variables, `vault`, a
`jwt`, a Redis, a folder, and a Nexudus, which is an emulator in the place of the default `base_url`. A web service that
it defines is started and called; a worker is started, and cancelled after some rounds. Where requests are paced, no
time is lost by it.
"""

import ast
import asyncio
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, cast

import httpx
import pytest
from cryptography.fernet import Fernet
from fastapi import FastAPI
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import REGISTRY

from nexudus_async import TokenSession, otel
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import until
from tests.valkey import Valkey
from tests.values.renderers import Factory, on_every_loop
from tests.values.renderers import run as run_on

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# (\w+\.py)\n")
FILES = [block for block in BLOCKS if FILE_NAME.match(block)]
EXAMPLES = [block for block in BLOCKS if not FILE_NAME.match(block)]
PAGES = [README, ROOT / "benchmarks" / "README.md"]
DEFAULT_BASE_URL = "https://spaces.nexudus.com"
REDIS = "redis://localhost:6379"
TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
TEAMS = [{"Id": 2_001, "Name": "First floor", "Administrator": "ops@example.com"}]


class Vault:
    async def read(self, name: str) -> str:
        assert name == "nexudus/robot"
        return "…"


@pytest.fixture
async def nexudus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncGenerator[NexudusEmulator]:
    """Put an emulator where the examples expect Nexudus, with the users that they sign in; files go to `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    async with NexudusEmulator() as emulator:
        emulator.add_user("ops@example.com", "…")
        emulator.add_user("robot@example.com", "…", totp_secret=TOTP_SECRET)
        monkeypatch.setenv("NEXUDUS_USERNAME", "ops@example.com")
        monkeypatch.setenv("NEXUDUS_PASSWORD", "…")
        monkeypatch.setenv("NEXUDUS_TOTP_SECRET", TOTP_SECRET)
        monkeypatch.setenv("STORE_KEYS", f"{Fernet.generate_key().decode()},{Fernet.generate_key().decode()}")
        monkeypatch.setenv("NEXUDUS_BASE_URL", emulator.url)
        emulator.find_user("ops@example.com").admin = True
        emulator.add_user("member@example.com", "…").coworker_id = 1234
        monkeypatch.setenv("NEXUDUS_REFRESH_TOKEN", emulator.issue("ops@example.com").refresh_token)
        monkeypatch.setenv("NEXUDUS_CLIENT_ID", "ops@example.com")
        yield emulator


class Reader:
    """Runs examples. names: what the last one has defined."""

    def __init__(
        self, nexudus: NexudusEmulator, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._nexudus, self._request, self._monkeypatch = nexudus, request, monkeypatch
        self.names: dict[str, Any] = {}

    async def run(self, source: str, loop: Factory | None = None) -> None:
        """Run an example. loop: makes the event loop; None: asyncio's."""
        text = "\n" * lines_before(source) + source.replace(DEFAULT_BASE_URL, self._nexudus.url)
        if REDIS in text:
            valkey: Valkey = self._request.getfixturevalue("valkey")
            valkey.start()
            text = text.replace(REDIS, f"redis://localhost:{valkey.port}")
        if "Pacing" in source:
            self._monkeypatch.setitem(defaults_of_sessions(), "clock", ManualClock(autojump=True))
        self.names = {"__name__": "readme", "vault": Vault(), "jwt": self._nexudus.one_time_jwt()}
        if "while True" in source:
            await self._work_a_little(text.replace("asyncio.sleep(600)", "asyncio.sleep(0.01)").replace("100", "25"))
        else:
            await asyncio.to_thread(execute, compiled(text), self.names, loop)
        if (metrics := self.names.get("prometheus")) is not None:
            self._request.addfinalizer(lambda: REGISTRY.unregister(metrics))

    async def _work_a_little(self, text: str) -> None:
        worker = asyncio.create_task(eval(compiled(text), self.names))
        self._nexudus.fail("*", Fault.answer(503))
        await until(lambda: [record.status for record in self._nexudus.requests][1:6] == [503, *[200] * 4])
        worker.cancel()
        await asyncio.wait([worker])
        assert worker.cancelled()


@pytest.fixture
def reader(nexudus: NexudusEmulator, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Reader:
    return Reader(nexudus, request, monkeypatch)


def compiled(text: str) -> CodeType:
    return cast(CodeType, compile(text, str(README), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))


def execute(code: CodeType, names: dict[str, Any], loop: Factory | None) -> None:
    if code.co_flags & inspect.CO_COROUTINE:
        run_on(loop, eval(code, names))
    else:
        exec(code, names)


def defaults_of_sessions() -> dict[str, Any]:
    defaults = cast(FunctionType, TokenSession.__init__).__kwdefaults__
    assert defaults is not None
    return defaults


def lines_before(block: str) -> int:
    """Return how many lines of the README come before a block, so that a traceback shows the right ones."""
    return TEXT[: TEXT.index(block)].count("\n")


def example_with(words: str) -> str:
    (example,) = [each for each in EXAMPLES if words in each]
    return example


def test_all_examples_are_found() -> None:
    assert len(EXAMPLES) + len(FILES) == TEXT.count("```python")
    assert len(EXAMPLES) >= 9
    assert len(FILES) >= 1


@on_every_loop
@pytest.mark.parametrize("source", EXAMPLES, ids=[f"line {lines_before(each)}" for each in EXAMPLES])
async def test_example_runs(source: str, loop: Factory | None, reader: Reader, nexudus: NexudusEmulator) -> None:
    await reader.run(source, loop)
    if "FastAPI" not in source:  # whose example defines a service, and calls nothing
        assert nexudus.token_requests, "the example reached the service"
    unknown = [record.path for record in nexudus.requests if record.status == 404]
    assert not unknown, "the emulator serves what the examples call"


@pytest.mark.parametrize("source", EXAMPLES, ids=[f"line {lines_before(each)}" for each in EXAMPLES])
def test_example_can_be_put_into_a_function(source: str) -> None:
    """As the README says, where `await` stands outside one."""
    if compiled(source).co_flags & inspect.CO_COROUTINE:
        compile("async def main() -> None:\n" + textwrap.indent(source, "    "), str(README), "exec")


async def test_first_example_prints_who_signed_in(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    await reader.run(EXAMPLES[0])
    assert capsys.readouterr().out == "ops@example.com\n"


async def test_web_service_answers_and_says_when_it_cannot(reader: Reader, nexudus: NexudusEmulator) -> None:
    await reader.run(example_with("as app.state.nexudus"))
    app: FastAPI = reader.names["app"]
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://web") as client,
    ):
        answer = await client.get("/teams")
        assert (answer.status_code, answer.json()) == (200, TEAMS)
        nexudus.revoke_all()
        nexudus.fail("token", Fault.answer(503), times=None)
        answer = await client.get("/teams")
        assert (answer.status_code, answer.json()) == (503, {"detail": "Nexudus is not available"})


async def test_members_sign_in_once_and_a_wrong_password_lets_nobody_in(
    reader: Reader, nexudus: NexudusEmulator
) -> None:
    await reader.run(example_with('@app.post("/login")'))
    app: FastAPI = reader.names["app"]
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="https://portal") as client,
    ):

        async def log_in(password: str) -> int:
            return (await client.post("/login", json={"email": "ops@example.com", "password": password})).status_code

        async def teams() -> tuple[int, object]:
            answer = await client.get("/teams")
            return answer.status_code, answer.json()

        assert await teams() == (401, {"detail": "sign in"})
        assert await log_in("") == 422
        assert [await log_in("a guess"), await log_in("…"), await log_in("a guess")] == [401, 200, 401]
        assert [await teams(), await teams()] == [(200, TEAMS)] * 2
        assert nexudus.sign_ins == 1
        nexudus.revoke_access_tokens()
        assert await teams() == (200, TEAMS)
        assert (nexudus.sign_ins, nexudus.renewals) == (1, 1)
        nexudus.revoke_all()
        assert await teams() == (401, {"detail": "sign in again"})
        assert await log_in("…") == 200
        assert await teams() == (200, TEAMS)


async def test_many_accounts_are_served_side_by_side(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    await reader.run(example_with("Pacing.public_api()"))
    assert capsys.readouterr().out == "['Ops', 'Member']\n"


async def test_sync_job_reads_every_page(
    reader: Reader, nexudus: NexudusEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    await reader.run(example_with("Pacing.documented()"))
    coworkers = capsys.readouterr().out.splitlines()
    assert sorted(coworkers) == sorted(each["FullName"] for each in nexudus.coworkers)
    assert len(coworkers) == 60
    assert nexudus.sign_ins == 1
    took = defaults_of_sessions()["clock"].monotonic() - ManualClock().monotonic()
    assert took >= 6.2, "63 requests, at most 10 a second"


async def test_worker_prints_what_has_changed_and_goes_on_after_a_failure(
    reader: Reader, nexudus: NexudusEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it, be it on one page or on several."""
    await reader.run(example_with("while True"))
    first, *names = capsys.readouterr().out.splitlines()
    assert first.startswith("next time, then: ClientResponseError: 503")
    assert names[: len(nexudus.coworkers)] == [each["FullName"] for each in nexudus.coworkers]


async def test_both_clients_get_the_answer(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    await reader.run(example_with("NexudusAuth("))
    assert capsys.readouterr().out == f"{TEAMS}\n{TEAMS}\n"


async def test_metrics_arrive(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    open_telemetry = InMemoryMetricReader()
    provider = MeterProvider([open_telemetry], shutdown_on_exit=False)
    monkeypatch.setattr(otel, "get_meter_provider", lambda: provider)
    await reader.run(example_with("OpenTelemetryMetrics"))
    data = open_telemetry.get_metrics_data()
    assert data is not None
    (scope,) = data.resource_metrics[0].scope_metrics
    assert {metric.name for metric in scope.metrics} >= {"nexudus.token.renewals", "nexudus.token.renewal.duration"}
    provider.shutdown()
    labels = {"grant": "password", "reason": "empty"}
    assert REGISTRY.get_sample_value("nexudus_tokens_obtained_total", labels) == 1


def test_suite_passes(tmp_path: Path) -> None:
    """In pytest-asyncio's strict mode, warnings being errors."""
    for block in FILES:
        match = FILE_NAME.match(block)
        assert match is not None
        (tmp_path / match[1]).write_text(block, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{''.join(FILES).count('async def test_')} passed" in run.stdout


def test_setup_is_two_lines_of_one_command_each() -> None:
    lines = [line for line in TEXT.splitlines() if line.startswith("python3 -m venv .venv && ")]
    assert [line.rpartition(" && ")[2] for line in lines] == [
        ".venv/bin/nexudus-async demo",
        ".venv/bin/python -m pytest -n auto",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Relative ones: to a file of the checkout, and to a heading in it where one is named."""
    links = [each for each in re.findall(r"\]\(([^)]+)\)", prose(page)) if "://" not in each]
    assert links or page != README
    for link in links:
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.is_file(), link
        if heading:
            assert heading in {anchor(each) for each in re.findall(r"^#+ (.*)$", prose(target), re.MULTILINE)}, link


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchor(heading: str) -> str:
    """Return what a heading is called in a link, as code hosts do it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_promise_has_the_test_that_is_named() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and "`test_" in line]
    assert len(rows) >= 10
    for row in rows:
        match = re.search(r"`(test_\w+)` in \[.*\]\((tests/.*\.py)\) \|$", row)
        assert match is not None, row
        source = (ROOT / match[2]).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {match[1]}\(", source, re.MULTILINE), f"{match[1]} is not in {match[2]}"


def test_every_error_is_explained() -> None:
    errors = re.findall(r"^class (\w+)\(", (ROOT / "nexudus_async" / "errors.py").read_text("utf-8"), re.MULTILINE)
    section = TEXT.partition("\n## When it fails\n")[2].partition("\n## ")[0]
    missing = [name for name in errors if f"`{name}`" not in section and name != "TokenEndpointError"]
    assert not missing
