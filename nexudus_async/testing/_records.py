"""What the emulator remembers of the requests it got."""

from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from multidict import CIMultiDictProxy, MultiMapping


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request as it arrived, with its real, secret values; `repr` shows none of them.

    method, path, query, headers: as they were sent.
    form: the fields of a token request; empty for every other, and for a body that was not form-encoded.
    status: what was answered. None while the answer is under way, and for good when the connection was dropped.
    started, finished: seconds by the emulator's clock (`monotonic`). finished is None while the answer is under way.
    username: whose token or credentials it carried, None when nobody's.
    milliseconds: of real time until the answer was made. remark: what the emulator has to say of the request, such as
        an unknown filter.
    """

    method: str
    path: str
    query: MultiMapping[str] = field(repr=False)
    headers: CIMultiDictProxy[str] = field(repr=False)
    form: Mapping[str, str] = field(repr=False)
    started: float
    finished: float | None = None
    status: int | None = None
    username: str | None = None
    milliseconds: float | None = None
    remark: str | None = None

    @property
    def client_id(self) -> str | None:
        """The header that a refresh must repeat."""
        return self.headers.get("client_id")

    @property
    def in_flight(self) -> bool:
        """Whether its answer is still under way."""
        return self.finished is None


@dataclass(frozen=True, slots=True)
class Served:
    """A line for a request log, without a secret: what `on_request` is called with.

    method: as it was sent. path: the same, without the query, the secrets in it masked.
    status: None when the connection was dropped. milliseconds: of real time until the answer was made.
    who: the user, None when nobody's token or credentials came along. remark: what the emulator has to say of it.
    """

    method: str
    path: str
    status: int | None
    milliseconds: float
    who: str | None
    remark: str | None = None

    def __str__(self) -> str:
        status = "dropped" if self.status is None else str(self.status)
        note = f"  ({self.remark})" if self.remark else ""
        return f"{self.method} {self.path} {status} {self.milliseconds:.0f} ms {self.who or '-'}{note}"


class RequestLog:
    """Records in order of arrival. A record is complete once its answer has been made.

    keep: how many, the oldest go first; None for all.
    """

    def __init__(self, keep: int | None = None) -> None:
        self.keep = keep
        self._serial = 0
        self._records: dict[int, RequestRecord] = {}

    def begin(self, record: RequestRecord) -> int:
        """Keep `record` and return the number to finish it by."""
        self._serial += 1
        self._records[self._serial] = record
        if self.keep is not None and len(self._records) > self.keep:
            del self._records[next(iter(self._records))]
        return self._serial

    def finish(self, serial: int, outcome: RequestRecord) -> None:
        """Complete a record; one that was cleared meanwhile stays cleared."""
        if serial in self._records:
            self._records[serial] = outcome

    def records(self) -> list[RequestRecord]:
        return list(self._records.values())

    def numbered(self) -> list[tuple[int, RequestRecord]]:
        """Return the records with their numbers, which grow and are never used again."""
        return list(self._records.items())

    def clear(self) -> None:
        self._records.clear()


class Gauge:
    """Counts how many are busy at once, by key, and remembers the most."""

    def __init__(self) -> None:
        self._busy: Counter[str] = Counter()
        self.peak: int = 0

    @contextmanager
    def busy(self, key: str) -> Generator[None]:
        """Count one more of `key` inside the block."""
        self._busy[key] += 1
        self.peak = max(self.peak, self._busy[key])
        try:
            yield
        finally:
            self._busy[key] -= 1

    def reset(self) -> None:
        """Forget the peak; those still busy count on."""
        self._busy = +self._busy
        self.peak = max(self._busy.values(), default=0)
