"""OpenTelemetry metrics and spans from a session's events. Needs the extra `otel`: pip install 'nexudus-async[otel]'.

    metrics, spans = OpenTelemetryMetrics(), OpenTelemetrySpans()

    def listen(event: Event) -> None:
        metrics(event)
        spans(event)

    session = TokenSession(credentials, on_event=listen)
    metrics.watch(session.manager, "ops")

| instrument | kind, unit | attributes |
|---|---|---|
| `nexudus.token.renewals` | counter | `nexudus.grant`, `nexudus.reason`, and `error.type` of those that failed |
| `nexudus.token.renewal.duration` | histogram, s | the same |
| `nexudus.token.adoptions` | counter | |
| `nexudus.token.remaining` | gauge, s | `nexudus.account` |
| `nexudus.token.rejections` | counter | `nexudus.renewed` |
| `nexudus.store.failures` | counter | `nexudus.store.operation`, `error.type` |
| `nexudus.pacing.failures` | counter | `error.type` |
| `nexudus.throttle.wait` | histogram, s | `http.response.status_code` |

| span | from, to | attributes, besides `nexudus.account` |
|---|---|---|
| `nexudus sign-in` | start of the flight, token | `nexudus.` `grant`, `reason`, `generation`, `waiters` |
| `nexudus refresh` | the same | the same |
| either, failed | start of the flight, failure | `nexudus.` `reason`, `served`, `retry_in`; `error.type` |
| `nexudus throttled` | answer, end of the pause | `nexudus.attempt`, and the request's method, path and status |

A flight belongs to all who wait for it, so its span begins a trace of its own. A pause belongs to the request that was
throttled: its span is a child of the span that is current there, and ends when the pause is meant to. A 401 that our
token met is an event, `nexudus token rejected`, of the span that is current for that request.

The names follow https://opentelemetry.io/docs/specs/semconv/general/naming/. No attribute of a metric grows without
bound.
"""

import time
import weakref
from collections.abc import Iterable, Mapping

from ._events import (
    Event,
    PacingFailed,
    RefreshFailed,
    StoreFailed,
    Throttled,
    TokenAdopted,
    TokenObtained,
    TokenRejected,
)
from ._manager import TokenManager

try:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider
    from opentelemetry.trace import Status, StatusCode, TracerProvider, get_current_span, get_tracer_provider
    from opentelemetry.util.types import AttributeValue
except ImportError as _missing:
    raise ImportError("nexudus_async.otel needs OpenTelemetry: pip install 'nexudus-async[otel]'") from _missing

__all__ = ["OpenTelemetryMetrics", "OpenTelemetrySpans"]


class OpenTelemetryMetrics:
    """A listener that turns events into metrics. One may listen to any number of sessions.

    meter_provider: where the metrics go; the global one by default.
    """

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        meter = (meter_provider or get_meter_provider()).get_meter("nexudus_async")
        self._watched: dict[weakref.ref[TokenManager], str] = {}
        self._refreshes = meter.create_counter("nexudus.token.renewals", "{renewal}", "Sign-ins and refreshes")
        self._durations = meter.create_histogram("nexudus.token.renewal.duration", "s", "How long they took")
        self._adoptions = meter.create_counter("nexudus.token.adoptions", "{token}", "Tokens taken from the store")
        self._rejections = meter.create_counter("nexudus.token.rejections", "{request}", "Requests answered 401")
        self._store = meter.create_counter("nexudus.store.failures", "{failure}", "Store operations that failed")
        self._pacing = meter.create_counter("nexudus.pacing.failures", "{failure}", "Shared budgets out of reach")
        self._waits = meter.create_histogram("nexudus.throttle.wait", "s", "Pauses that the API asked for")
        meter.create_observable_gauge(
            "nexudus.token.remaining", [self._remaining], "s", "How long the token held still lives"
        )

    def watch(self, manager: TokenManager, account: str) -> None:
        """Observe the remaining life of the token of `manager`, as long as that exists, under the name `account`."""
        self._watched[weakref.ref(manager)] = account

    def __call__(self, event: Event) -> None:
        """Count one event."""
        match event:
            case TokenObtained():
                attributes: dict[str, str] = {"nexudus.grant": event.grant, "nexudus.reason": event.reason}
                self._refreshes.add(1, attributes)
                self._durations.record(event.duration, attributes)
            case RefreshFailed():
                attributes = {"nexudus.reason": event.reason, "error.type": type(event.error).__name__}
                self._refreshes.add(1, attributes)
                self._durations.record(event.duration, attributes)
            case TokenAdopted():
                self._adoptions.add(1)
            case TokenRejected():
                self._rejections.add(1, {"nexudus.renewed": event.renewal})
            case StoreFailed():
                kind = type(event.error.__cause__ or event.error).__name__
                self._store.add(1, {"nexudus.store.operation": event.operation, "error.type": kind})
            case PacingFailed():
                self._pacing.add(1, {"error.type": event.error})
            case Throttled():
                self._waits.record(event.wait, {"http.response.status_code": event.status})
            case _:
                pass

    def _remaining(self, options: CallbackOptions) -> Iterable[Observation]:  # noqa: ARG002 - the API passes it
        for reference, account in list(self._watched.items()):  # at once: the reader is often another thread
            if (manager := reference()) is None:
                del self._watched[reference]
            elif (remaining := manager.statistics().expires_in) is not None:
                yield Observation(remaining, {"nexudus.account": account})


class OpenTelemetrySpans:
    """A listener that turns what took time into spans. One may listen to any number of sessions.

    tracer_provider: where the spans go; the global one by default.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = (tracer_provider or get_tracer_provider()).get_tracer("nexudus_async")

    def __call__(self, event: Event) -> None:
        """Make the span of one event, if it has any."""
        match event:
            case TokenObtained():
                name = "nexudus refresh" if event.grant == "refresh_token" else "nexudus sign-in"
                attributes: dict[str, AttributeValue] = {
                    "nexudus.account": event.account,
                    "nexudus.grant": event.grant,
                    "nexudus.reason": event.reason,
                    "nexudus.generation": event.generation,
                    "nexudus.waiters": event.waiters,
                }
                self._flight(name, event.duration, attributes)
            case RefreshFailed():
                attributes = {
                    "nexudus.account": event.account,
                    "nexudus.reason": event.reason,
                    "nexudus.served": event.served,
                    "nexudus.retry_in": event.retry_in,
                    "error.type": type(event.error).__name__,
                }
                name = "nexudus sign-in" if event.reason == "empty" else "nexudus refresh"
                self._flight(name, event.duration, attributes, Status(StatusCode.ERROR, str(event.error)))
            case Throttled():
                self._pause(event)
            case TokenRejected():
                rejected = {"nexudus.generation": event.generation, "nexudus.renewed": event.renewal}
                get_current_span().add_event("nexudus token rejected", rejected)
            case _:
                pass

    def _flight(
        self, name: str, duration: float, attributes: Mapping[str, AttributeValue], status: Status | None = None
    ) -> None:
        now = time.time_ns()
        span = self._tracer.start_span(name, attributes=attributes, start_time=now - round(duration * 1e9))
        if status is not None:
            span.set_status(status)
        span.end(now)

    def _pause(self, event: Throttled) -> None:
        now = time.time_ns()
        attributes: dict[str, AttributeValue] = {
            "nexudus.account": event.account,
            "nexudus.attempt": event.attempt,
            "http.request.method": event.method,
            "url.path": event.path,
            "http.response.status_code": event.status,
        }
        span = self._tracer.start_span("nexudus throttled", attributes=attributes, start_time=now)
        span.end(now + round(event.wait * 1e9))
