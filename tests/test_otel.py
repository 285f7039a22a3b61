"""OpenTelemetry metrics, read back with the real SDK's in-memory reader."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from nexudus_async import EndpointUnavailableError, Pacing
from nexudus_async.otel import OpenTelemetryMetrics
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def metrics(reader: InMemoryMetricReader) -> Iterator[OpenTelemetryMetrics]:
    provider = MeterProvider([reader], shutdown_on_exit=False)
    yield OpenTelemetryMetrics(provider)
    provider.shutdown()


def points(reader: InMemoryMetricReader, name: str) -> dict[tuple[tuple[str, Any], ...], Any]:
    data = reader.get_metrics_data()
    if data is None:
        return {}
    found = [
        (tuple(sorted((point.attributes or {}).items())), getattr(point, "value", getattr(point, "sum", None)))
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]
    return dict(found)


async def test_renewals_are_counted_by_grant_reason_and_outcome(
    emulator: NexudusEmulator,
    connect: Connect,
    clock: ManualClock,
    metrics: OpenTelemetryMetrics,
    reader: InMemoryMetricReader,
) -> None:
    """A sign-in, a renewal that failed, one that did not, and one after a 401."""
    session = await connect(on_event=metrics)
    metrics.watch(session.manager, "ops")
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
    await until(lambda: len(points(reader, "nexudus.throttle.wait")) == 1)
    assert points(reader, "nexudus.token.renewals") == {
        (("nexudus.grant", "password"), ("nexudus.reason", "empty")): 1,
        (("error.type", "EndpointUnavailableError"), ("nexudus.reason", "expired")): 1,
        (("nexudus.grant", "refresh_token"), ("nexudus.reason", "expired")): 1,
        (("nexudus.grant", "refresh_token"), ("nexudus.reason", "rejected")): 1,
    }
    assert points(reader, "nexudus.token.rejections") == {(("nexudus.renewed", True),): 1}
    assert points(reader, "nexudus.throttle.wait") == {(("http.response.status_code", 409),): 2.0}
    (remaining,) = points(reader, "nexudus.token.remaining").values()
    assert remaining == pytest.approx(3598, abs=5)


async def test_a_budget_out_of_reach_is_counted(
    connect: Connect, metrics: OpenTelemetryMetrics, reader: InMemoryMetricReader
) -> None:
    """By what Redis raised."""
    pacing = Pacing(requests=["1/hour"], redis_url="redis://127.0.0.1:1")
    session = await connect(on_event=metrics, pacing=pacing)
    async with session.get(CUSTOMER) as response:
        assert response.status == 200
    assert points(reader, "nexudus.pacing.failures") == {(("error.type", "ConnectionError"),): 1}


async def test_a_manager_that_is_gone_is_watched_no_more(
    connect: Connect, metrics: OpenTelemetryMetrics, reader: InMemoryMetricReader
) -> None:
    """The gauge keeps nothing alive."""
    session = await connect(on_event=metrics)
    metrics.watch(session.manager, "ops")
    assert points(reader, "nexudus.store.failures") == {}
    assert points(reader, "nexudus.token.remaining") == {}
