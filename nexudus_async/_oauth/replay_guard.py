"""What is remembered of a refresh token that was sent and not answered: nobody knows whether it was used.

It may be sent once more, promptly, because the service may not have got it; after that never again (RFC 9700, section
4.14: who sends a used refresh token looks like a thief).
"""

from typing import NamedTuple

from nexudus_async._clock import Clock
from nexudus_async._token import Secret

REPLAY_WITHIN = 10.0
"""Seconds after a lost answer in which a refresh token may be sent once more."""
MAX_SENDINGS = 2


class Sent(NamedTuple):
    """The refresh token, when it was sent first (monotonic seconds), and how often."""

    refresh_token: Secret
    since: float
    times: int


class ReplayGuard:
    """Remembers the refresh token that was sent last, until its answer is here."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sent: Sent | None = None

    def may_have_been_used(self, refresh_token: str) -> bool:
        """Tell whether it may have been used, for all that is known."""
        return self._known(refresh_token) is not None

    def forbids(self, refresh_token: str) -> bool:
        """Tell whether its one replay was made already, or the time for it is over."""
        sent = self._known(refresh_token)
        return sent is not None and (sent.times >= MAX_SENDINGS or self._clock.monotonic() - sent.since > REPLAY_WITHIN)

    def sending(self, refresh_token: Secret) -> Sent | None:
        """Learn that it is about to be sent, and return what to `restore` where it turns out not to have been used.

        To be called before the request: whoever cancels that cannot tell whether it arrived.
        """
        known = self._known(refresh_token)
        first = Sent(refresh_token, self._clock.monotonic(), 1)
        self._sent = first if known is None else known._replace(times=known.times + 1)
        return known

    def forbid(self) -> None:
        """Learn that the service, or something before it, has answered that it does not want this refresh token."""
        if self._sent is not None:
            self._sent = self._sent._replace(times=MAX_SENDINGS)

    def restore(self, known: Sent | None) -> None:
        """Go back to what was known before it was sent; None: it was answered."""
        self._sent = known

    def others_have_sent(self, refresh_token: str) -> None:
        """Learn that another process has sent it, and did not live to know the answer: there is no replay of that."""
        if self._known(refresh_token) is None:
            self._sent = Sent(Secret(refresh_token), self._clock.monotonic(), MAX_SENDINGS)

    def _known(self, refresh_token: str) -> Sent | None:
        return self._sent if self._sent is not None and self._sent.refresh_token == refresh_token else None
