"""Every example in the README runs, as it stands there, against the emulator.

A block whose first line names a file (`# conftest.py`) is part of a test suite, which pytest runs in a process of its
own. Every other block is run by itself, in a thread with its own event loop: `await` and `async with` may stand
outside a function. What the reader is told to bring is there: NEXUDUS_* variables, `vault`, a Redis, a home folder, and
a Nexudus, which is an emulator instead of the default `base_url`. A web service that it defines is started and called;
a worker is started, and cancelled after some rounds. Where requests are paced, no time is lost by it.
"""

import ast
import asyncio
import inspect
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, cast

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography.fernet import Fernet
from fastapi import FastAPI
from fastapi.routing import APIRoute
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from nexudus_async import TokenSession, otel
from nexudus_async._http.arguments import DEFAULT_BASE_URL
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from nexudus_async.testing._api import Handler
from tests.conftest import until
from tests.valkey import Valkey

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# (\w+\.py)\n")
FILES = [block for block in BLOCKS if FILE_NAME.match(block)]
EXAMPLES = [block for block in BLOCKS if not FILE_NAME.match(block)]
REDIS = "redis://localhost:6379"
TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


class Vault:
    async def read(self, name: str) -> str:
        assert name == "nexudus/ops"
        return "…"


@pytest.fixture
async def nexudus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncGenerator[NexudusEmulator]:
    """Put an emulator where the examples expect Nexudus, with the users that they sign in; files go to `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    async with NexudusEmulator() as emulator:
        emulator.add_user("ops@example.com", "…")
        emulator.add_user("robot@example.com", "…", totp_secret=TOTP_SECRET)
        for coworker in emulator.coworkers:
            emulator.route("GET", f"/api/spaces/coworkers/{coworker['Id']}", detail(coworker))
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NEXUDUS_USERNAME", "ops@example.com")
        monkeypatch.setenv("NEXUDUS_PASSWORD", "…")
        monkeypatch.setenv("NEXUDUS_TOTP_SECRET", TOTP_SECRET)
        monkeypatch.setenv("STORE_KEYS", f"{Fernet.generate_key().decode()},{Fernet.generate_key().decode()}")
        monkeypatch.setenv("NEXUDUS_BASE_URL", emulator.url)
        yield emulator


def defaults_of_sessions() -> dict[str, Any]:
    defaults = cast(FunctionType, TokenSession.__init__).__kwdefaults__
    assert defaults is not None
    return defaults


def detail(coworker: dict[str, Any]) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(coworker)

    return answer


def lines_before(block: str) -> int:
    """Return how many lines of the README come before a block, so that a traceback shows the right ones."""
    return TEXT[: TEXT.index(block)].count("\n")


def test_all_examples_are_found() -> None:
    assert len(EXAMPLES) + len(FILES) == TEXT.count("```python")
    assert len(EXAMPLES) >= 10
    assert len(FILES) >= 3


@pytest.mark.parametrize("source", EXAMPLES, ids=[f"line {lines_before(each)}" for each in EXAMPLES])
async def test_example_runs(
    source: str, nexudus: NexudusEmulator, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n" * lines_before(source) + source.replace(DEFAULT_BASE_URL, nexudus.url)
    if REDIS in text:
        valkey: Valkey = request.getfixturevalue("valkey")
        valkey.start()
        text = text.replace(REDIS, valkey.url)
    code = compile(text, str(README), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if "Pacing" in source:
        monkeypatch.setitem(defaults_of_sessions(), "clock", ManualClock(autojump=True))
    names: dict[str, Any] = {"__name__": "readme", "vault": Vault()}
    await asyncio.to_thread(execute, code, names)
    app = names.get("app")
    if isinstance(app, web.Application):
        await call_every_route(app)
    elif isinstance(app, FastAPI):
        await call_every_endpoint(app)
    elif "INTERVAL" in names:
        await work_a_little(names, nexudus)
    if "await" in source:
        assert nexudus.token_requests, "the example reached the service"


def execute(code: CodeType, names: dict[str, Any]) -> None:
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, names))
    else:
        exec(code, names)


async def call_every_route(app: web.Application) -> None:
    async with TestClient(TestServer(app)) as client:
        for resource in app.router.resources():
            async with client.get(resource.canonical) as response:
                assert response.status == 200, await response.text()


async def call_every_endpoint(app: FastAPI) -> None:
    async with app.router.lifespan_context(app) as state:

        async def served(scope: Any, receive: Any, send: Any) -> None:  # with the state, as a server passes it
            await app({**scope, "state": dict(cast(dict[str, Any], state))}, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://service") as client:
            for route in app.routes:
                if isinstance(route, APIRoute):
                    response = await client.get(route.path)
                    assert response.status_code == 200, response.text


async def work_a_little(names: dict[str, Any], nexudus: NexudusEmulator) -> None:
    names["INTERVAL"] = 0.01
    worker = asyncio.create_task(names["main"]())
    nexudus.fail("*", Fault.answer(503))
    await until(lambda: [record.status for record in nexudus.requests][1:4] == [503, 200, 200])
    worker.cancel()
    await asyncio.wait([worker])
    assert worker.cancelled()


async def test_first_example_prints_who_signed_in(
    nexudus: NexudusEmulator,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await test_example_runs(EXAMPLES[0], nexudus, request, monkeypatch)
    assert capsys.readouterr().out == "ops@example.com\n"


async def test_sync_job_reads_every_page(
    nexudus: NexudusEmulator,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = [each for each in EXAMPLES if "HasNextPage" in each]
    await test_example_runs(example, nexudus, request, monkeypatch)
    *coworkers, total = capsys.readouterr().out.splitlines()
    assert sorted(coworkers) == sorted(each["FullName"] for each in nexudus.coworkers)
    assert total == "60 coworkers"
    assert nexudus.sign_ins == 1
    took = defaults_of_sessions()["clock"].monotonic() - ManualClock().monotonic()
    assert took >= 6.2, "63 requests, at most 10 a second"


async def test_counters_count(
    nexudus: NexudusEmulator,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = [each for each in EXAMPLES if "Counter()" in each]
    await test_example_runs(example, nexudus, request, monkeypatch)
    assert capsys.readouterr().out == "Counter({('nexudus_tokens_obtained_total', 'password'): 1})\n"


async def test_worker_prints_what_has_changed_and_goes_on_after_a_failure(
    nexudus: NexudusEmulator,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = [each for each in EXAMPLES if "INTERVAL" in each]
    await test_example_runs(example, nexudus, request, monkeypatch)
    first, *names = capsys.readouterr().out.splitlines()
    assert first.startswith("next time, then: 503")
    assert names[: len(nexudus.coworkers)] == [each["FullName"] for each in nexudus.coworkers]


async def test_metrics_arrive(
    nexudus: NexudusEmulator, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = [each for each in EXAMPLES if "OpenTelemetryMetrics" in each]
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(otel, "get_meter_provider", lambda: provider)
    await test_example_runs(example, nexudus, request, monkeypatch)
    data = reader.get_metrics_data()
    assert data is not None
    (scope,) = data.resource_metrics[0].scope_metrics
    assert {metric.name for metric in scope.metrics} >= {"nexudus.token.renewals", "nexudus.token.renewal.duration"}
    provider.shutdown()


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
    assert "5 passed" in run.stdout


def test_setup_is_two_lines_of_one_command_each() -> None:
    lines = [line for line in TEXT.splitlines() if line.startswith("python3 -m venv .venv && ")]
    assert [line.rpartition(" && ")[2] for line in lines] == [
        ".venv/bin/nexudus-async demo",
        ".venv/bin/python -m pytest",
    ]
