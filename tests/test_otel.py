"""OpenTelemetry metrics and spans, read back with the real SDK's in-memory reader and exporter."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from opentelemetry.metrics import CallbackOptions
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from nexudus_async import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    Event,
    Pacing,
    PasswordCredentials,
    TokenObtained,
)
from nexudus_async.otel import OpenTelemetryMetrics, OpenTelemetrySpans
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


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
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


async def test_refreshes_are_counted_by_grant_reason_and_outcome(
    emulator: NexudusEmulator,
    connect: Connect,
    clock: ManualClock,
    metrics: OpenTelemetryMetrics,
    reader: InMemoryMetricReader,
) -> None:
    """A sign-in, a refresh that failed, one that did not, and one after a 401."""
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


async def test_managers_may_be_watched_while_the_metrics_are_read(
    connect: Connect, metrics: OpenTelemetryMetrics
) -> None:
    """A reader has a thread of its own: after each line of it, one of another thread may come."""
    managers = [(await connect()).manager for _ in range(20)]
    for number in range(10):
        metrics.watch(managers[number], f"watched before {number}")

    def between_lines(_: FrameType, event: str, __: object) -> Callable[..., Any]:
        if event == "line" and len(managers) > 10:
            metrics.watch(managers.pop(), "watched meanwhile")
        return between_lines

    tracing = sys.gettrace()
    sys.settrace(between_lines)
    try:
        list(metrics._remaining(CallbackOptions()))  # pyright: ignore[reportPrivateUsage] - the SDK logs what it raises
    finally:
        sys.settrace(tracing)
    assert len(managers) == 10


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


async def test_a_flight_is_a_span(
    emulator: NexudusEmulator,
    connect: Connect,
    clock: ManualClock,
    provider: TracerProvider,
    exporter: InMemorySpanExporter,
) -> None:
    """With its duration, in a trace of its own: it belongs to all who wait for it."""
    spans = OpenTelemetrySpans(provider)

    def listen(event: Event) -> None:
        connect.events.append(event)
        spans(event)

    session = await connect(on_event=listen)
    with provider.get_tracer("caller").start_as_current_span("caller"), emulator.hold("token") as hold:
        waiting = asyncio.create_task(session.token())
        await hold.wait()
        clock.advance(0.25)
        hold.release()
        await waiting
    await session.refresh()
    sign_in, caller, refresh = exporter.get_finished_spans()
    assert (sign_in.name, caller.name, refresh.name) == ("nexudus sign-in", "caller", "nexudus refresh")
    obtained = connect.events[0]
    assert isinstance(obtained, TokenObtained)
    assert seconds(sign_in) == pytest.approx(obtained.duration)
    assert seconds(sign_in) == pytest.approx(0.25)
    assert time.time_ns() - (sign_in.end_time or 0) < 60e9
    assert sign_in.parent is None
    assert sign_in.attributes == {
        "nexudus.account": obtained.account,
        "nexudus.grant": "password",
        "nexudus.reason": "empty",
        "nexudus.generation": 1,
        "nexudus.waiters": 1,
    }
    assert sign_in.status.status_code is StatusCode.UNSET


async def test_a_flight_that_failed_says_why(
    emulator: NexudusEmulator, connect: Connect, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """The text of the error is safe to show."""
    emulator.change_password(emulator.username, "another")
    session = await connect(PasswordCredentials(emulator.username, "wrong"), on_event=OpenTelemetrySpans(provider))
    with pytest.raises(CredentialsRejectedError) as caught:
        await session.token()
    (span,) = exporter.get_finished_spans()
    assert span.name == "nexudus sign-in"
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == str(caught.value)
    assert {"error.type": "CredentialsRejectedError", "nexudus.served": False}.items() <= (
        span.attributes or {}
    ).items()
    assert "wrong" not in span.to_json()


async def test_a_refused_refresh_is_told_from_the_sign_in_that_follows(
    emulator: NexudusEmulator, connect: Connect, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """Both are of one flight."""
    session = await connect(on_event=OpenTelemetrySpans(provider))
    await session.token()
    emulator.revoke_refresh_tokens()
    await session.refresh()
    ended = [(span.name, span.status.status_code) for span in exporter.get_finished_spans()]
    assert ended[1:] == [("nexudus refresh", StatusCode.ERROR), ("nexudus sign-in", StatusCode.UNSET)]


async def test_a_pause_is_a_span_of_the_request_that_was_throttled(
    emulator: NexudusEmulator,
    connect: Connect,
    clock: ManualClock,
    provider: TracerProvider,
    exporter: InMemorySpanExporter,
) -> None:
    """A child of what is current there; a 401 is an event of it."""
    session = await connect(on_event=OpenTelemetrySpans(provider), label="ops")
    clock.autojump = True
    emulator.fail(CUSTOMER, Fault.throttled(2))
    emulator.fail(CUSTOMER, Fault.answer(401))
    with provider.get_tracer("caller").start_as_current_span("caller") as current:
        async with session.get(CUSTOMER, params={"a": "b"}) as response:
            assert response.status == 200
    _, pause, _, caller = exporter.get_finished_spans()
    assert pause.name == "nexudus throttled"
    assert pause.parent == current.get_span_context()
    assert seconds(pause) == pytest.approx(2)
    assert pause.attributes == {
        "nexudus.account": "ops",
        "nexudus.attempt": 1,
        "http.request.method": "GET",
        "url.path": CUSTOMER,
        "http.response.status_code": 409,
    }
    (event,) = caller.events
    assert event.name == "nexudus token rejected"
    assert event.attributes == {"nexudus.generation": 1, "nexudus.renewed": True}
