"""OpenTelemetry metrics from a session's events. Needs the extra `otel`: pip install 'nexudus-async[otel]'.

    metrics = OpenTelemetryMetrics()
    session = TokenSession(credentials, on_event=metrics)
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

The names follow https://opentelemetry.io/docs/specs/semconv/general/naming/. No attribute grows without bound.
"""

import weakref
from collections.abc import Iterable

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
except ImportError as missing:
    raise ImportError("nexudus_async.otel needs OpenTelemetry: pip install 'nexudus-async[otel]'") from missing

__all__ = ["OpenTelemetryMetrics"]


class OpenTelemetryMetrics:
    """A listener that turns events into metrics. One may listen to any number of sessions.

    meter_provider: where the metrics go; the global one by default.
    """

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        meter = (meter_provider or get_meter_provider()).get_meter("nexudus_async")
        self._watched: weakref.WeakKeyDictionary[TokenManager, str] = weakref.WeakKeyDictionary()
        self._renewals = meter.create_counter("nexudus.token.renewals", "{renewal}", "Sign-ins and renewals")
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
        self._watched[manager] = account

    def __call__(self, event: Event) -> None:
        """Count one event."""
        match event:
            case TokenObtained():
                attributes: dict[str, str] = {"nexudus.grant": event.grant, "nexudus.reason": event.reason}
                self._renewals.add(1, attributes)
                self._durations.record(event.duration, attributes)
            case RefreshFailed():
                attributes = {"nexudus.reason": event.reason, "error.type": type(event.error).__name__}
                self._renewals.add(1, attributes)
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
        for manager, account in list(self._watched.items()):
            remaining = manager.statistics().expires_in
            if remaining is not None:
                yield Observation(remaining, {"nexudus.account": account})
