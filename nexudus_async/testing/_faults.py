"""Scripted faults: what goes wrong with an answer, and which request it happens to."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import TracebackType
from typing import Self

from ._masking import shown
from ._routing import PathPattern
from ._waiting import Level


class Cut(Enum):
    """How a connection ends before the answer does.

    DROP: without any of it. TRUNCATE: after half of the body.
    """

    DROP = "closed without an answer"
    TRUNCATE = "closed after half of the body"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong. Make it with the class methods, or combine the fields by hand.

    applied: the request is processed (a token rotated, a record written) before the fault strikes. False: the wait
        comes first, and a request whose answer is replaced or dropped is never processed.
    delay: real seconds to wait. gate: wait until this event is set.
    status, body, headers, content_type: the answer to give; with status None the service's own.
    members, without: members of the service's own JSON answer to replace, and to leave out.
    cut: how the connection ends. size: bytes of filler to stream as the body.
    """

    applied: bool = True
    delay: float = 0.0
    gate: asyncio.Event | None = field(default=None, repr=False)
    status: int | None = None
    body: str | bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    content_type: str = "application/json"
    members: Mapping[str, object] = field(default_factory=dict[str, object], repr=False)
    without: tuple[str, ...] = ()
    cut: Cut | None = None
    size: int = 0

    @classmethod
    def answer(
        cls,
        status: int,
        body: str | bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        applied: bool = False,
    ) -> Self:
        """Answer with exactly this."""
        return cls(status=status, body=body, headers=headers or {}, content_type=content_type, applied=applied)

    @classmethod
    def json(cls, value: object, status: int = 200, *, applied: bool = False) -> Self:
        """Answer with `value` as JSON. For text that is not JSON use `answer`."""
        return cls(status=status, body=json.dumps(value), applied=applied)

    @classmethod
    def altered(cls, members: Mapping[str, object] | None = None, *, without: tuple[str, ...] = ()) -> Self:
        """Change the service's own JSON answer, such as `{"expires_in": "604799"}`. The service keeps its own idea."""
        return cls(members=members or {}, without=without)

    @classmethod
    def throttled(
        cls, retry_after: float | str | None = 1, status: int = 409, *, in_words: float | None = None
    ) -> Self:
        """Refuse with `Retry-After`; None leaves the header out. The request is not processed.

        in_words: seconds that the body names, "Wait N seconds", as a 429 was seen to do.
        """
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        message = "Too many requests." + ("" if in_words is None else f" Wait {in_words:g} seconds.")
        return cls.answer(status, json.dumps({"Message": message}), headers=headers)

    @classmethod
    def silent(cls, status: int = 200, *, applied: bool = True) -> Self:
        """Answer with no body at all, as a POST that succeeds may; the request is processed."""
        return cls.answer(status, applied=applied)

    @classmethod
    def html(cls, status: int = 200, *, applied: bool = False) -> Self:
        """Answer with a page, as a wrong host or a proxy in trouble does."""
        page = f"<!doctype html><title>{status}</title><p>Not what you were looking for.</p>"
        return cls.answer(status, page, content_type="text/html", applied=applied)

    @classmethod
    def redirect(cls, location: str, status: int = 307) -> Self:
        """Send the client somewhere else. The request is not processed."""
        return cls.answer(status, headers={"Location": location})

    @classmethod
    def dropped(cls, *, applied: bool = False) -> Self:
        """Close the connection without an answer; with `applied` after the request was processed."""
        return cls(cut=Cut.DROP, applied=applied)

    @classmethod
    def truncated(cls, *, applied: bool = True) -> Self:
        """Announce the whole answer, send half of it, and close. Not `applied`: half of an invented one."""
        if applied:
            return cls(cut=Cut.TRUNCATE)
        return cls(cut=Cut.TRUNCATE, applied=False, status=200, body=json.dumps({"filler": "x" * 64}))

    @classmethod
    def big(cls, size: int = 50_000_000, *, applied: bool = False) -> Self:
        """Stream `size` bytes that are no answer at all."""
        return cls(status=200, size=size, applied=applied)

    @classmethod
    def delayed(cls, seconds: float, *, applied: bool = True) -> Self:
        """Give the service's own answer `seconds` of real time late. `Hold` does without real time."""
        return cls(delay=seconds, applied=applied)

    @property
    def replaces_answer(self) -> bool:
        """Whether the client gets something else than the service's own answer, or nothing."""
        return self.status is not None or self.cut is Cut.DROP

    @property
    def summary(self) -> str:
        """What happens, in a few words and without the answer's text."""
        words = [f"wait {self.delay:g} s"] if self.delay else []
        words += ["held"] if self.gate is not None else []
        words += [f"answer {self.status}"] if self.status is not None else []
        words += ["changed answer"] if self.members or self.without else []
        words += [self.cut.value] if self.cut is not None else []
        words += [f"{self.size} bytes of filler"] if self.size else []
        words += [] if self.applied else ["not processed"]
        return ", ".join(words) or "nothing"

    async def wait(self) -> None:
        """Wait as long as the fault says."""
        if self.delay > 0:
            await asyncio.sleep(self.delay)
        if self.gate is not None:
            await self.gate.wait()


class Hold:
    """Holds requests back until `release()`. As a context manager it releases on the way out.

    arrived: set once the first request is here.
    """

    def __init__(self) -> None:
        self.arrived: asyncio.Event = asyncio.Event()
        self._count = Level()
        self._gate = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Hold count={self.count} released={self.released}>"

    @property
    def count(self) -> int:
        """How many requests have come."""
        return self._count.value

    @property
    def released(self) -> bool:
        """Whether requests pass again."""
        return self._gate.is_set()

    def holding(self, fault: Fault) -> Fault:
        """Return `fault` behind this gate."""
        return replace(fault, gate=self._gate)

    def arrive(self) -> None:
        """Count one more request."""
        self._count.set(self.count + 1)
        self.arrived.set()

    async def wait(self, n: int = 1) -> None:
        """Return once `n` requests are here. Raises `TimeoutError` when they are not within 5 real seconds."""
        await self._count.at_least(n)

    def release(self) -> None:
        """Let the held requests go on, and those still to come pass. Doing it twice does no harm."""
        self._gate.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


@dataclass(slots=True)
class Planned:
    """A fault that waits for its requests."""

    where: str
    fault: Fault
    times: int | None
    hold: Hold | None
    pattern: PathPattern | None

    def is_for(self, places: tuple[str, ...]) -> bool:
        """Return whether a request that is called `places` is meant."""
        pattern = self.pattern
        return self.where in places or (pattern is not None and any(pattern.match(p) is not None for p in places))


class FaultPlan:
    """A queue of faults; each request takes the first that is meant for it."""

    def __init__(self) -> None:
        self._queue: list[Planned] = []

    def __len__(self) -> int:
        """Return how many entries still wait for a request."""
        return len(self._queue)

    def __repr__(self) -> str:
        return f"<FaultPlan {[(entry.where, entry.times) for entry in self._queue]}>"

    def add(self, where: str, fault: Fault, times: int | None = 1, hold: Hold | None = None) -> None:
        """Queue `fault` for the next `times` requests to `where`; None means every one until `clear()`.

        where: "token", a path, which may hold names as a route's may, such as `/api/spaces/coworkers/{Id}`, or "*" for
        every path but the token endpoint's. Raises `ValueError` for what would never strike.
        """
        if where not in ("token", "*") and not where.startswith("/"):
            raise ValueError(f'where is "token", "*" or a path that begins with a slash, not {shown(where)}')
        if where.startswith("/_emulator"):
            raise ValueError(f"the control interface has no faults: where is a path of the API, not {shown(where)}")
        if times is not None and times < 1:
            raise ValueError(f"times is 1 or more, or None for every request, not {times!r}")
        pattern = PathPattern(where) if "{" in where or "}" in where else None
        self._queue.append(Planned(where, fault, times, hold, pattern))

    def waiting(self) -> list[Planned]:
        """Return the entries that still wait for a request, in the order in which they strike."""
        self._forget_released()
        return list(self._queue)

    def clear(self) -> None:
        """Forget every fault that has not struck yet."""
        self._queue.clear()

    def take(self, *places: str) -> Fault | None:
        """Return, and use up, the first fault for one of `places`."""
        self._forget_released()
        entry = next((entry for entry in self._queue if entry.is_for(places)), None)
        if entry is None:
            return None
        if entry.times is not None:
            entry.times -= 1
            if entry.times == 0:
                self._queue.remove(entry)
        if entry.hold is not None:
            entry.hold.arrive()
        return entry.fault

    def _forget_released(self) -> None:
        self._queue = [entry for entry in self._queue if entry.hold is None or not entry.hold.released]
