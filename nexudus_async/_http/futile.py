"""The memory of renewals that did not help: a 401 that outlives a new token is a permission, not a token.

Nexudus answers 401 for both. Without this memory, a worker that polls something it may not see would renew with every
poll. So a method and path whose replay was refused again forces no renewal for a minute, then two, up to a quarter of
an hour; and while no forced renewal has helped, all other paths together force one a minute at most.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

__all__ = ["FutileRenewals"]

FIRST_PAUSE = 60.0
LONGEST_PAUSE = 900.0
PAUSE_IN_DOUBT = 60.0
MAX_PATHS = 1024
"""Remembered at once; the one that was refused longest ago is forgotten first."""


@dataclass(slots=True)
class _Refusal:
    """What is known of one method and path.

    generation: the youngest that was refused there. until: when it may force again, after a pause of `pause`.
    watched_until: before then, a 401 for a younger generation shows that an unproven renewal did not help.
    """

    generation: int = 0
    pause: float = 0.0
    until: float = -math.inf
    watched_until: float = -math.inf


class FutileRenewals:
    """Decides whether a 401 may force a renewal. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._refusals: OrderedDict[tuple[str, str], _Refusal] = OrderedDict()
        self._doubt = False
        """Whether the last forced renewal whose use is known did not help, or one is still unproven."""
        self._next_in_doubt = -math.inf

    def allow(self, method: str, path: str, generation: int, now: float) -> bool:
        """Tell whether a 401 for a token of `generation` may force a renewal; yes counts it as forced."""
        known = self._refusals.get((method, path))
        if known is not None:
            if known.generation < generation and now < known.watched_until:
                self.refused(method, path, generation, now)
            if now < known.until:
                return False
        if self._doubt:
            if now < self._next_in_doubt:
                return False
            self._next_in_doubt = now + PAUSE_IN_DOUBT
        return True

    def unproven(self, method: str, path: str, generation: int, now: float) -> None:
        """Note that `generation` is being renewed for a body that cannot be sent again: nobody sees if it helps."""
        refusal = self._keep(method, path)
        refusal.generation, refusal.watched_until = generation, now + FIRST_PAUSE
        self._doubt = True

    def refused(self, method: str, path: str, generation: int, now: float) -> None:
        """Note that the successor, of `generation`, was refused too. Many who shared it count once."""
        refusal = self._keep(method, path)
        self._doubt = True
        if generation > refusal.generation:
            refusal.generation = generation
            refusal.pause = min(max(FIRST_PAUSE, 2 * refusal.pause), LONGEST_PAUSE)
            refusal.until = now + refusal.pause

    def helped(self, method: str, path: str) -> None:
        """Note that the successor was accepted: the token had been the trouble."""
        self._refusals.pop((method, path), None)
        self._doubt = False

    def _keep(self, method: str, path: str) -> _Refusal:
        key = (method, path)
        refusal = self._refusals.setdefault(key, _Refusal())
        self._refusals.move_to_end(key)
        if len(self._refusals) > MAX_PATHS:
            self._refusals.popitem(last=False)
        return refusal
