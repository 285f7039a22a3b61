"""What must never happen after a 401: one renewal after the other, for something that no token helps against."""

import re
from collections.abc import Callable

from .checks import Call

__all__ = ["Replays"]

PAUSE = 60.0
"""Seconds for which a method and path force no renewal after one that did not help, and all others together one."""
UNAUTHORIZED = 401


class Replays:
    """Watches what API requests force. `now` is the monotonic clock; report is called with what must never happen."""

    def __init__(self, now: Callable[[], float], report: Callable[[str], None]) -> None:
        self._now = now
        self._report = report
        self._futile: dict[tuple[bool, str], tuple[str, float]] = {}
        """For each path the successor that was refused there, and since when; many who shared it count once."""
        self._doubt = False
        self._forced_in_doubt = -PAUSE
        self._worked: set[str] = set()
        """The tokens that were accepted somewhere: refused later, they are dead and not forbidden, unless they live."""
        self._refused_at: dict[str, set[tuple[bool, str]]] = {}
        self._forbidden: set[tuple[bool, str]] = set()
        """Where a token was refused that was accepted elsewhere afterwards."""
        self._dead: dict[str, tuple[bool, str]] = {}

    def forces(self, call: Call) -> None:
        """A renewal begins because this call was answered 401."""
        now = self._now()
        _, since = self._futile.get(_key(call), ("", -PAUSE))
        if now - since < PAUSE:
            self._report(f"never 6: {call.path} forces another renewal, although none helps there")
        if self._doubt:
            if now - self._forced_in_doubt < PAUSE:
                self._report("never 6: refused requests force one renewal after the other")
            self._forced_in_doubt = now
        if call.kind.startswith("send"):
            self._doubt = True  # it is not sent again, so nobody sees whether the renewal helped

    def answered(self, call: Call, status: int) -> None:
        """A call got its final answer: does it tell whether the renewal that it forced has helped?"""
        if not call.renewed or (call.answers[-1][1] is not None and not call.kind.endswith("hop")):
            return
        if status == UNAUTHORIZED and call.sent in self._worked:
            self._dead[call.sent] = _key(call)
            return
        self._doubt = status == UNAUTHORIZED
        if not self._doubt:
            self._futile.pop(_key(call), None)
        else:
            self._helps_not(_key(call), call.sent)

    def left_at_401(self, call: Call) -> None:
        """A call returns its 401, and nothing was done: only where it is known for a permission, or may be one."""
        if call.renewed or call.barred or self._doubt or _key(call) in {*self._futile, *self._forbidden}:
            return
        self._report(f"{call.kind} was answered 401, and no other token was asked for")

    def refused(self, call: Call) -> None:
        """The client is told that the service has refused a token."""
        self._refused_at.setdefault(call.sent, set()).add(_key(call))

    def accepted(self, sent: str) -> None:
        """The service has accepted this token somewhere."""
        self._forbidden |= self._refused_at.pop(sent, set())
        self._worked.add(sent)
        if sent in self._dead:  # it lives: there, it is forbidden
            self._doubt = True
            self._helps_not(self._dead.pop(sent), sent)

    def _helps_not(self, key: tuple[bool, str], sent: str) -> None:
        if self._futile.get(key, ("", 0.0))[0] != sent:
            self._futile[key] = (sent, self._now())


def _key(call: Call) -> tuple[bool, str]:
    """Return the method and the path: what differs in a number is one of a kind."""
    return call.kind.startswith("send"), re.sub(r"/\d+", "/0", call.path)
