# pyright: reportPrivateUsage=false
# The defects are inside.
"""Ways to break the library, each a small change of one function, and the machinery to make it for a while."""

import inspect
import textwrap
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, cast

from nexudus_async import TokenEndpoint, TokenManager
from nexudus_async._fleet import desk as _desk
from nexudus_async._fleet import renewal as _renewal
from nexudus_async._http import futile as _futile
from nexudus_async._http import middleware as _bearer
from nexudus_async._oauth import endpoint as _endpoint
from nexudus_async._oauth import protocol as _wire
from nexudus_async._oauth import replay_guard as _doubt
from nexudus_async._refresh import backoff as _backoff
from nexudus_async._refresh import policy as _lifecycle
from nexudus_async._refresh import renewal as _grants
from nexudus_async._refresh import state as _holder
from nexudus_async._refresh.single_flight import Flight

__all__ = ["MUTANTS", "Mutant", "applied"]


@dataclass(frozen=True)
class Mutant:
    """A defect: in `function`, each `old` text is replaced by the `new` one after it."""

    name: str
    function: Any = field(repr=False)
    changes: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return self.name


@contextmanager
def applied(mutant: Mutant) -> Generator[None]:
    """Break the function inside the block: its code is exchanged, so that whoever imported it has the defect too."""
    target = mutant.function
    function = cast(FunctionType, target.fget if isinstance(target, property) else target)
    source = textwrap.dedent(inspect.getsource(function)).replace("@property\n", "")
    for old, new in mutant.changes:
        assert source.count(old) == 1, f"{mutant.name}: {old!r} is there {source.count(old)} times: adapt the mutant"
        source = source.replace(old, new)
    defined: dict[str, Callable[..., Any]] = {}
    exec(compile(source, inspect.getfile(function), "exec"), function.__globals__, defined)
    before, function.__code__ = function.__code__, cast(FunctionType, defined[function.__name__]).__code__
    try:
        yield
    finally:
        function.__code__ = before


def _mutant(name: str, function: Any, *texts: str) -> Mutant:
    return Mutant(name, function, tuple(zip(texts[::2], texts[1::2], strict=True)))


_MANAGER: Any = TokenManager
_ENDPOINT: Any = TokenEndpoint
_DESK: Any = _desk.FlightDesk
_FLIGHT: Any = Flight
_LIFECYCLE: Any = _lifecycle
_WIRE: Any = _wire

MUTANTS = (
    # One flight
    _mutant("every caller launches a flight", _MANAGER._launch, "if flight is None or flight.landed:", "if True:"),
    _mutant("a flight does not wait for the one before", _MANAGER._launch, "after=flight)", "after=None)"),
    _mutant("a flight clears the slot of another", _MANAGER._fly, "if self._flight is flight:", "if True:"),
    _mutant("callers wait for the flight's task itself", _FLIGHT.wait, "await future", "await self._task"),
    _mutant(
        "the last caller to be cancelled cancels the flight", _FLIGHT.wait,
        "self._waiters.pop(future, None)", "self._waiters.pop(future, None); self._waiters or self._task.cancel()",
    ),
    _mutant(
        "one error object for all", _FLIGHT.wait,
        "raise copy_of(self._error) from self._error", "raise self._error",
    ),
    _mutant(
        "a lock is held across the request", _MANAGER.token,
        "return await self._token_when_not_fresh()",
        "\n    async with vars(self).setdefault('lock', asyncio.Lock()):"
        "\n        return await self._token_when_not_fresh()",
    ),
    _mutant(
        "callers wait although the token is good", _MANAGER._token_when_not_fresh,
        '                self._launch("advisory")\n', '                await self._launch("advisory").wait()\n',
    ),
    _mutant(
        "a flight cancelled from outside leaves its waiters waiting", _FLIGHT._on_end,
        "if task.cancelled():", "if task.cancelled(): return\n    if False:",
    ),
    # Publishing
    _mutant(
        "published after an await", _renewal.AloneRenewal.run,
        "    desk.publish(obtained)", "    await __import__('asyncio').sleep(0); desk.publish(obtained)",
    ),
    _mutant("generations are not compared", _holder.TokenHolder.replaced, "return ", "return False and "),
    _mutant(
        "a spent refresh token is kept", _holder.TokenHolder.drop_refresh_token,
        "if self.held is not None", "if False",
    ),
    # Time
    _mutant(
        "an expired token is served", _MANAGER._token_when_not_fresh,
        "state in SERVABLE", "state is not Freshness.EMPTY",
    ),
    _mutant(
        "only the monotonic clock counts", _LIFECYCLE.Held.elapsed,
        "return max(monotonic - self.sent_monotonic, wall - self.sent_wall)",
        "return monotonic - self.sent_monotonic",
    ),
    _mutant("the hot path trusts the monotonic clock", _MANAGER.token, "self._wall() < holder.fresh_wall", "True"),
    _mutant(
        "the hot path trusts the wall clock", _MANAGER.token,
        "self._monotonic() < holder.fresh_monotonic", "True",
    ),
    _mutant("jitter goes beyond the hard margin", _LIFECYCLE.schedule, ", hard_after)\n", ", lifetime)\n"),
    _mutant(
        "callers wait without limit in the hard margin", _MANAGER._wait_a_little,
        "self._policy.mandatory_wait", "None",
    ),
    _mutant(
        "a failure within the hard margin is raised", _MANAGER._wait_a_little,
        "self.check_usable()", "raise",
    ),
    _mutant(
        "lifetime counts from the answer", _LIFECYCLE.age_of,
        "return min(age, longest) if age >= 0 else longest", "return 0.0",
    ),
    _mutant("no deadline", cast(Any, _grants.Grants)._within_deadline, "self._deadline)", "None)"),
    # Back-off
    _mutant(
        "back-off is ignored", _backoff.Backoff.in_force,
        "return None if outlived or now >= self._until else self.error", "return None",
    ),
    _mutant("back-off is not cleared by success", _DESK.publish, "self._ledger.backoff = Backoff()", "pass"),
    _mutant(
        "a pause outlives the token", _backoff.Backoff.in_force,
        "outlived = self._kind is _Kind.SERVED and not served", "outlived = False",
    ),
    _mutant(
        "rejected credentials are not latched", _backoff.Backoff.latched,
        "return self._in_a_row[_Kind.LATCH] >= LATCHED_AFTER", "return False",
    ),
    _mutant("Retry-After is ignored by back-off", _LIFECYCLE._at_least, "return ", "return delay if True else "),
    _mutant("Retry-After is ignored by a flight", cast(Any, _endpoint)._asked_wait, "failure.error.retry_after", "0.0"),
    _mutant("futile renewals are forgotten", _futile.FutileRenewals.allow, "if now < known.until:", "if False:"),
    _mutant("many paths force many renewals", _futile.FutileRenewals.allow, "if self._doubt:", "if False:"),
    # The refresh token
    _mutant(
        "a lost answer is forgotten", _doubt.Doubt._known,
        "self._sent is not None and self._sent.refresh_token == refresh_token", "False",
    ),
    _mutant("a replay has no time limit", _doubt.Doubt.late, "sent.times >= MAX_SENDINGS or", "False and"),
    _mutant("a typed code is used again", _ENDPOINT._sign_in, "typed_code and self._typed_code_used", "False"),
    # Logout and close
    _mutant(
        "a logout lets the flight's result stand", _MANAGER.logout,
        "self._ledger.logouts += 1", "pass", "flight.cancel()", "pass",
    ),
    _mutant(
        "a call that waits in the hard margin undoes a logout", _MANAGER._wait_a_little,
        "if logouts != self._ledger.logouts:", "if False:",
    ),
    _mutant("close() does not wake waiters", _MANAGER.close, "flight.fail(", "str("),
    _mutant("close() does not end the flight", _MANAGER.close, "flight.cancel()", "pass"),
    _mutant(
        "a closed session serves its token", _MANAGER.close,
        "self._holder.close()", "pass",
    ),
    # Origins and secrets
    _mutant("every origin gets the token", _bearer.BearerRule.covers, "return ", "return True or "),
    _mutant(
        "the service's words are not masked", _WIRE._words,
        "masked = _masked(description, secrets)", "masked = description",
    ),
    # Defects that the simulation found, put back
    _mutant(
        "a wall clock set during the request is not noticed", _LIFECYCLE.age_of,
        "longest = max(monotonic_elapsed, wall_elapsed)", "longest = monotonic_elapsed",
    ),
    _mutant(
        "a token that expired on its way replaces a good one", _holder.TokenHolder.put,
        "if good or self.held is None or not self.servable:", "if True:",
    ),
    _mutant(
        "an answer that is not Nexudus' clears a lost one", _ENDPOINT._renew,
        "elif before is None or failed.fate in (Fate.NOT_SENT, Fate.THROTTLED):", "else:",
        "self._doubt.restore(before)", "self._doubt.restore(None if failed.fate is Fate.REFUSED else before)",
    ),
)  # fmt: skip
