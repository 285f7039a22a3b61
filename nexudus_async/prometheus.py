"""Prometheus metrics from a session's events. Needs the extra `prometheus`: pip install 'nexudus-async[prometheus]'.

    metrics = PrometheusMetrics()
    session = TokenSession(credentials, on_event=metrics)
    metrics.watch(session, "ops")

| metric | kind | labels |
|---|---|---|
| `nexudus_tokens_obtained_total` | counter | `grant`, `reason` |
| `nexudus_token_failures_total` | counter | `error`, `reason` |
| `nexudus_token_outages_total` | counter: failures with no token left to serve; the one to be woken up for | |
| `nexudus_token_request_duration_seconds` | histogram | `outcome`: obtained or failed |
| `nexudus_tokens_adopted_total` | counter: taken from the store | |
| `nexudus_token_rejections_total` | counter: answers 401 | `refreshed`: true or false |
| `nexudus_throttle_wait_seconds` | histogram: pauses that the API asked for | `status` |
| `nexudus_store_failures_total` | counter | `operation`, `error` |
| `nexudus_pacing_failures_total` | counter: shared budgets out of reach | `error` |
| `nexudus_token_expires_in_seconds` | gauge; none while there is no token | `account` |
| `nexudus_token_retry_in_seconds` | gauge: for how long back-off holds | `account` |
| `nexudus_token_waiting` | gauge: calls that wait for a token | `account` |
| `nexudus_token_unsaved` | gauge: 1 while the store lacks the newest token | `account` |
| `nexudus_token_freshness` | gauge: 1 for the present state, 0 for the others | `account`, `state` |
| `nexudus_requests_queued` | gauge: requests that are paced, or wait for the end of a pause | `account` |
| `nexudus_requests_paused_for_seconds` | gauge: for how long that pause still lasts | `account` |
| `nexudus_requests_rate` | gauge: requests per second that the API lets through, once it is learnt | `account` |

The gauges are of what is watched, read when they are scraped. No label grows without bound, `account` aside, whose
values are yours. In prometheus_client's multiprocess mode there are no gauges: it knows none that are read when asked.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ._events import (
    Event,
    PacingFailed,
    RefreshFailed,
    Statistics,
    StoreFailed,
    Throttled,
    TokenAdopted,
    TokenObtained,
    TokenRejected,
)
from ._manager import TokenManager
from ._refresh.policy import Freshness
from ._session import TokenSession
from ._validation import check_kind, check_methods, kind_of
from .errors import ConfigurationError

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, Metric
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector
except ImportError as _missing:
    raise ImportError(
        "nexudus_async.prometheus needs prometheus-client: pip install 'nexudus-async[prometheus]'"
    ) from _missing

__all__ = ["PrometheusMetrics"]

_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets: a good token endpoint takes a tenth of a second, a flight 30 s at most."""

_GAUGES: Final[tuple[tuple[str, str, Callable[[Statistics], float | None]], ...]] = (
    ("nexudus_token_expires_in_seconds", "How long the token held still lives", lambda of: of.expires_in),
    ("nexudus_token_retry_in_seconds", "How long back-off still holds", lambda of: of.retry_in),
    ("nexudus_token_waiting", "Calls that wait for a token", lambda of: of.waiting),
    ("nexudus_token_unsaved", "Whether the store lacks the newest token", lambda of: of.unsaved),
    ("nexudus_requests_queued", "Requests that are paced or wait for the end of a pause", lambda of: of.queued),
    ("nexudus_requests_paused_for_seconds", "How long the pause in force still lasts", lambda of: of.paused_for),
    ("nexudus_requests_rate", "Requests per second that the API lets through, as learnt", lambda of: of.rate),
)


class PrometheusMetrics(Collector):
    """A listener that turns events into metrics. One may listen to any number of sessions.

    registry: where the metrics are scraped from; prometheus_client's own by default. Raises `ConfigurationError` where
    it has such metrics already: make one listener, and share it.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        check_methods("registry", registry, ("register",), "a CollectorRegistry")
        self._watched: dict[str, weakref.ref[TokenSession | TokenManager]] = {}
        self._obtained = _counter("nexudus_tokens_obtained", "Sign-ins and refreshes that succeeded", "grant", "reason")
        self._failures = _counter("nexudus_token_failures", "Sign-ins and refreshes that failed", "error", "reason")
        self._outages = _counter("nexudus_token_outages", "Failures with no token left to serve")
        self._adoptions = _counter("nexudus_tokens_adopted", "Tokens taken from the store")
        self._rejections = _counter("nexudus_token_rejections", "Requests answered 401", "refreshed")
        self._store = _counter("nexudus_store_failures", "Store operations that failed", "operation", "error")
        self._pacing = _counter("nexudus_pacing_failures", "Shared budgets out of reach", "error")
        self._durations = _histogram(
            "nexudus_token_request_duration_seconds", "How long sign-ins and refreshes took", "outcome"
        )
        self._waits = _histogram("nexudus_throttle_wait_seconds", "Pauses that the API asked for", "status")
        self._counted = (
            self._obtained, self._failures, self._outages, self._durations, self._adoptions, self._rejections,
            self._waits, self._store, self._pacing,
        )  # fmt: skip
        try:
            registry.register(self)
        except ValueError as exc:
            raise ConfigurationError(
                "the registry has metrics of these names already: make one PrometheusMetrics and share it, or give it "
                "a registry of its own"
            ) from exc

    def watch(self, tokens: TokenSession | TokenManager, account: str) -> None:
        """Show the state of a session or manager, as long as it exists and is not closed, under the name `account`.

        The name is a label's value: whoever watches thousands makes thousands of series. What was watched under the
        same name is watched no more.
        """
        if not isinstance(tokens, TokenSession | TokenManager):
            raise ConfigurationError(f"watch a TokenSession or a TokenManager, not {kind_of(tokens)}")
        check_kind("account", account, str, "text")
        self._watched[account] = weakref.ref(tokens)

    def __call__(self, event: Event) -> None:
        """Count one event."""
        match event:
            case TokenObtained():
                self._obtained.labels(event.grant, event.reason).inc()
                self._durations.labels("obtained").observe(event.duration)
            case RefreshFailed():
                self._failures.labels(type(event.error).__name__, event.reason).inc()
                self._outages.inc(0 if event.served else 1)
                self._durations.labels("failed").observe(event.duration)
            case TokenAdopted():
                self._adoptions.inc()
            case TokenRejected():
                self._rejections.labels("true" if event.renewal else "false").inc()
            case StoreFailed():
                self._store.labels(event.operation, type(event.error.__cause__ or event.error).__name__).inc()
            case PacingFailed():
                self._pacing.labels(event.error).inc()
            case Throttled():
                self._waits.labels(str(event.status)).observe(event.wait)
            case _:
                pass

    def describe(self) -> Iterable[Metric]:
        """Return the names; the registry asks for them once."""
        return [*(metric for each in self._counted for metric in each.describe()), *_gauges()]

    def collect(self) -> Iterable[Metric]:
        """Return the values; the registry asks for them at each scrape, from whatever thread."""
        gauges = _gauges()
        *numbers, freshness = gauges
        for account, tokens in self._living():
            statistics, present = tokens.statistics(), tokens.freshness
            for gauge, (_, _, read) in zip(numbers, _GAUGES, strict=True):
                value = read(statistics)
                if value is not None:
                    gauge.add_metric([account], value)
            for state in Freshness:
                freshness.add_metric([account, state.value], state is present)
        return [*(metric for each in self._counted for metric in each.collect()), *gauges]

    def _living(self) -> Iterator[tuple[str, TokenSession | TokenManager]]:
        for account, reference in list(self._watched.items()):
            tokens = reference()
            if tokens is None or tokens.freshness is Freshness.CLOSED:
                if self._watched.get(account) is reference:  # not what another thread has put there meanwhile
                    del self._watched[account]
            else:
                yield account, tokens


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, registry=None)


def _histogram(name: str, text: str, label: str) -> Histogram:
    return Histogram(name, text, [label], registry=None, buckets=_SECONDS)


def _gauges() -> list[GaugeMetricFamily]:
    """Return the gauges without values, that of the freshness last."""
    freshness = GaugeMetricFamily("nexudus_token_freshness", "The state of the token", labels=["account", "state"])
    return [*(GaugeMetricFamily(name, text, labels=["account"]) for name, text, _ in _GAUGES), freshness]
