"""What the emulator remembers of the requests it got."""

from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from multidict import CIMultiDictProxy, MultiMapping

__all__ = ["Gauge", "RequestLog", "RequestRecord"]


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request as it arrived, with its real, secret values; `repr` shows none of them.

    form: the fields of a token request; empty for every other, and for a body that was not form-encoded.
    status: what was answered. None while the answer is under way, and for good when the connection was dropped.
    started, finished: seconds by the emulator's clock (`monotonic`). finished is None while the answer is under way.
    username: whose token or credentials it carried, None when nobody's.
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


class RequestLog:
    """Records in order of arrival. A record is complete once its answer has been made."""

    def __init__(self) -> None:
        self._serial = 0
        self._records: dict[int, RequestRecord] = {}

    def begin(self, record: RequestRecord) -> int:
        """Keep `record` and return the number to finish it by."""
        self._serial += 1
        self._records[self._serial] = record
        return self._serial

    def finish(self, serial: int, *, finished: float, status: int | None, username: str | None) -> None:
        """Complete a record; one that was cleared meanwhile stays cleared."""
        if serial in self._records:
            self._records[serial] = replace(self._records[serial], finished=finished, status=status, username=username)

    def records(self) -> list[RequestRecord]:
        return list(self._records.values())

    def clear(self) -> None:
        self._records.clear()


class Gauge:
    """Counts how many are busy at once, by key, and remembers the most."""

    def __init__(self) -> None:
        self._busy: Counter[str] = Counter()
        self.peak = 0

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
