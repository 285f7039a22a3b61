"""Prometheus metrics, scraped over HTTP and read by prometheus_client's own parser."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from nexudus_async import (
    ConfigurationError,
    EndpointUnavailableError,
    Pacing,
    PasswordCredentials,
    RedisStore,
    TokenSession,
)
from nexudus_async.prometheus import PrometheusMetrics
from nexudus_async.stores import MemoryStore
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until
from tests.inside import put_rate

Sample = tuple[str, frozenset[tuple[str, str]]]
Scrape = Callable[[], Awaitable[dict[Sample, float]]]


def named(name: str, **labels: str) -> Sample:
    return name, frozenset(labels.items())


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> PrometheusMetrics:
    return PrometheusMetrics(registry)


@pytest.fixture
def scrape(registry: CollectorRegistry) -> Iterator[Scrape]:
    """Ask a server of prometheus_client's, which answers in a thread of its own."""
    server, thread = start_http_server(0, "127.0.0.1", registry=registry)

    async def ask() -> dict[Sample, float]:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            text = await response.text()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
        assert len(found) == len(samples), "no series twice"
        return found

    yield ask
    server.shutdown()
    server.server_close()
    thread.join()


async def test_flights_are_counted_by_grant_reason_and_outcome(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, metrics: PrometheusMetrics, scrape: Scrape
) -> None:
    """A sign-in, a refresh that failed, one that did not, one after a 401; and what a throttled request waits."""
    session = await connect(on_event=metrics)
    await session.token()
    clock.advance(3600)
    clock.autojump = True
    emulator.fail("token", Fault.answer(500))
    with pytest.raises(EndpointUnavailableError):
        await session.token()
    clock.advance(1)
    await session.token()
    emulator.revoke_access_tokens()
    async with session.get(CUSTOMER) as response:
        assert response.status == 200
    emulator.fail(CUSTOMER, Fault.throttled(2))
    async with session.get(CUSTOMER) as response:
        assert response.status == 200
    seen = await scrape()
    obtained = "nexudus_tokens_obtained_total"
    assert {
        sample: value for sample, value in seen.items() if sample[0].startswith(("nexudus_token_", "nexudus_tokens_"))
        and sample[0].endswith("_total")
    } == {
        named(obtained, grant="password", reason="empty"): 1,
        named(obtained, grant="refresh_token", reason="expired"): 1,
        named(obtained, grant="refresh_token", reason="rejected"): 1,
        named("nexudus_token_failures_total", error="EndpointUnavailableError", reason="expired"): 1,
        named("nexudus_token_outages_total"): 1,
        named("nexudus_tokens_adopted_total"): 0,
        named("nexudus_token_rejections_total", refreshed="true"): 1,
    }  # fmt: skip
    assert seen[named("nexudus_token_request_duration_seconds_count", outcome="obtained")] == 3
    assert seen[named("nexudus_token_request_duration_seconds_count", outcome="failed")] == 1
    assert seen[named("nexudus_throttle_wait_seconds_sum", status="409")] == 2


async def test_a_failure_that_nobody_notices_is_no_outage(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, metrics: PrometheusMetrics, scrape: Scrape
) -> None:
    """The token still lives."""
    session = await connect(on_event=metrics)
    token = await session.token()
    clock.advance(token.lifetime - 120)
    emulator.fail("token", Fault.answer(503), times=None)
    await session.token()
    clock.autojump = True
    await until(lambda: session.statistics().failures == 1)
    seen = await scrape()
    assert seen[named("nexudus_token_failures_total", error="EndpointUnavailableError", reason="advisory")] == 1
    assert seen[named("nexudus_token_outages_total")] == 0


async def test_failures_of_store_and_budget_are_counted_by_what_was_raised(
    connect: Connect, metrics: PrometheusMetrics, scrape: Scrape
) -> None:
    nowhere = "redis://127.0.0.1:1"
    pacing = Pacing(requests=["1/hour"], redis_url=nowhere)
    session = await connect(on_event=metrics, pacing=pacing, store=RedisStore(nowhere))
    async with session.get(CUSTOMER) as response:
        assert response.status == 200
    seen = await scrape()
    assert seen[named("nexudus_pacing_failures_total", error="ConnectionError")] == 1
    assert seen[named("nexudus_store_failures_total", operation="load", error="ConnectionError")] >= 1


async def test_tokens_from_the_store_are_counted(connect: Connect, metrics: PrometheusMetrics, scrape: Scrape) -> None:
    store = MemoryStore()
    await (await connect(store=store)).token()
    await (await connect(store=store, on_event=metrics)).token()
    assert (await scrape())[named("nexudus_tokens_adopted_total")] == 1


async def test_gauges_show_what_is_watched(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, metrics: PrometheusMetrics, scrape: Scrape
) -> None:
    """Read at the scrape, in the server's thread."""
    session = await connect()
    metrics.watch(session, "ops")
    expires = named("nexudus_token_expires_in_seconds", account="ops")
    assert expires not in await scrape()
    await session.token()
    clock.advance(600)
    seen = await scrape()
    assert seen[expires] == pytest.approx(3000)
    assert seen[named("nexudus_token_freshness", account="ops", state="fresh")] == 1
    assert sum(value for (name, _), value in seen.items() if name == "nexudus_token_freshness") == 1
    for name in ("retry_in_seconds", "waiting", "unsaved"):
        assert seen[named(f"nexudus_token_{name}", account="ops")] == 0


async def test_requests_that_wait_for_the_end_of_a_pause_are_shown(
    emulator: NexudusEmulator, connect: Connect, metrics: PrometheusMetrics, scrape: Scrape
) -> None:
    """Of a session: a manager sends none."""
    session = await connect()
    metrics.watch(session, "ops")
    await session.token()
    emulator.fail(CUSTOMER, Fault.throttled(30))
    request = asyncio.create_task(session.request("GET", CUSTOMER))
    await until(lambda: session.statistics().queued == 1)
    seen = await scrape()
    assert seen[named("nexudus_requests_queued", account="ops")] == 1
    assert seen[named("nexudus_requests_paused_for_seconds", account="ops")] == pytest.approx(30)
    assert named("nexudus_requests_rate", account="ops") not in seen
    put_rate(session, 20)
    assert (await scrape())[named("nexudus_requests_rate", account="ops")] == 20
    request.cancel()
    await asyncio.wait([request])


async def test_the_gauges_forget_what_is_closed(connect: Connect, metrics: PrometheusMetrics, scrape: Scrape) -> None:
    """And what another has taken the name of."""
    session, replaced = await connect(), await connect()
    metrics.watch(replaced.manager, "ops")
    metrics.watch(session.manager, "ops")
    await session.token()
    assert named("nexudus_token_expires_in_seconds", account="ops") in await scrape()
    await session.close()
    assert not any(name == "nexudus_token_freshness" for name, _ in await scrape())


async def test_the_gauges_keep_nothing_alive(metrics: PrometheusMetrics, scrape: Scrape) -> None:
    session = TokenSession(PasswordCredentials("ops@example.com", "…"))
    metrics.watch(session, "ops")
    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None
    assert not any(name == "nexudus_token_freshness" for name, _ in await scrape())


def test_names_that_are_taken_are_refused_and_nothing_is_left(registry: CollectorRegistry) -> None:
    """By another listener, or by a counter of the user's own; the registry is as before."""
    own = Counter("nexudus_pacing_failures", "Mine", registry=registry)
    with pytest.raises(ConfigurationError, match="share it"):
        PrometheusMetrics(registry)
    assert [family.name for family in registry.collect()] == ["nexudus_pacing_failures"]
    registry.unregister(own)
    PrometheusMetrics(registry)
    with pytest.raises(ConfigurationError, match="share it"):
        PrometheusMetrics(registry)


async def test_arguments_that_cannot_work_are_refused(connect: Connect, metrics: PrometheusMetrics) -> None:
    session = await connect()
    odd: Any = 7
    with pytest.raises(ConfigurationError, match="registry must be a CollectorRegistry"):
        PrometheusMetrics(odd)
    with pytest.raises(ConfigurationError, match="watch a TokenSession or a TokenManager, not int"):
        metrics.watch(odd, "ops")
    with pytest.raises(ConfigurationError, match="account must be text"):
        metrics.watch(session, odd)


async def test_every_metric_is_in_the_table(metrics: PrometheusMetrics) -> None:
    """What the module's docstring lists is what there is."""
    from nexudus_async import prometheus

    kinds = {"counter": "_total", "gauge": "", "histogram": ""}
    there = {family.name + kinds[family.type] for family in metrics.describe()}
    told = {line.split("`")[1] for line in (prometheus.__doc__ or "").splitlines() if line.startswith("| `")}
    assert told == there
