"""Of a refresh token that was sent and not answered nobody knows whether it was used: how often, since when.

The rule is in `Doubt.late`: one prompt replay, because the service may not have got it, and no more.
"""

from dataclasses import dataclass, replace

from ._clock import Clock
from ._secret import Secret

__all__ = ["Doubt", "Sent", "Unanswered"]

REPLAY_WITHIN = 10.0
"""Seconds after a lost answer in which a refresh token may be sent once more: the service may not have got it."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """It was sent so many times, first so long ago, and no answer came."""

    seconds_ago: float
    times: int


@dataclass(frozen=True, slots=True)
class Sent:
    """The refresh token, when it was sent first (monotonic seconds), and how often."""

    refresh_token: Secret
    since: float
    times: int


class Doubt:
    """Remembers the refresh token that was sent last, until its answer is here."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sent: Sent | None = None

    def about(self, refresh_token: str) -> Unanswered | None:
        """Return what is not known of this refresh token; None where there is no doubt."""
        sent = self._known(refresh_token)
        return None if sent is None else Unanswered(self._clock.monotonic() - sent.since, sent.times)

    def late(self, refresh_token: str) -> bool:
        """Tell whether its one replay was made already, or the time for it is over."""
        known = self.about(refresh_token)
        return known is not None and (known.times > 1 or not 0 <= known.seconds_ago <= REPLAY_WITHIN)

    def sending(self, refresh_token: Secret) -> Sent | None:
        """Learn that it is about to be sent, and return what to `restore` where it turns out not to have been used.

        To be called before the request: whoever cancels that cannot tell whether it arrived.
        """
        known = self._known(refresh_token)
        first = Sent(refresh_token, self._clock.monotonic(), 1)
        self._sent = first if known is None else replace(known, times=known.times + 1)
        return known

    def restore(self, known: Sent | None) -> None:
        """Go back to what was known before it was sent; None: the doubt is over."""
        self._sent = known

    def recall(self, refresh_token: str, unanswered: Unanswered) -> None:
        """Learn what another process knows, unless more is known here."""
        if self._known(refresh_token) is None:
            since = self._clock.monotonic() - unanswered.seconds_ago
            self._sent = Sent(Secret(refresh_token), since, unanswered.times)

    def _known(self, refresh_token: str) -> Sent | None:
        return self._sent if self._sent is not None and self._sent.refresh_token == refresh_token else None
