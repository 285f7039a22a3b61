"""The pauses that a fleet keeps together: after a failure, and after refused credentials. They lie in the record.

Hosts' clocks differ: a pause that would last longer than any can is that of a wrong clock, and is passed over.
"""

from collections.abc import Callable

from nexudus_async._clock import Clock
from nexudus_async._refresh.policy import (
    LONGEST_LATCH,
    LONGEST_PAUSE,
    empty_delay,
    latch_delay,
    served_delay,
)
from nexudus_async._refresh.renewal import Asking, HeldOffError
from nexudus_async.errors import (
    CREDENTIALS_REFUSED,
    CredentialsRejectedError,
    EndpointUnavailableError,
    MalformedResponseError,
    NexudusAuthError,
    TokenEndpointError,
    TotpRequiredError,
    WrongHostError,
    is_refusal,
    is_unexplained,
)
from nexudus_async.stores._record import MAX_TEXT, Latch, Pause, Record

_KINDS = (TokenEndpointError, EndpointUnavailableError, MalformedResponseError, WrongHostError)


class Pauses:
    """Reads and writes them for one process."""

    def __init__(self, asking: Asking, clock: Clock, chance: Callable[[], float]) -> None:
        self._asking, self._clock, self._chance = asking, clock, chance
        self._started = clock.wall()
        self._refused = False
        """Whether this process has sent credentials that were refused."""

    def check(self, record: Record | None, known: Record, own: NexudusAuthError | None, *, served: bool) -> None:
        """Raise `HeldOffError` while a failure holds off the fleet, or where one is new since `known` was read.

        own: the last failure of this process. served: whether our token is good.
        """
        left, error = self._left(record, served=served), self.error_of(record, own)
        is_new = record is not None and record.pause != known.pause
        if error is not None and (left > 0 or is_new):
            raise HeldOffError(error, left)

    def error_of(self, record: Record | None, own: NexudusAuthError | None) -> NexudusAuthError | None:
        """Return the last failure that the fleet has noted: `own`, which knows its cause, if that is the one."""
        pause = record.pause if record is not None else None
        if pause is None:
            return None
        if own is not None and str(own)[:MAX_TEXT] == pause.error:
            return own
        kind = next((each for each in _KINDS if each.__name__ == pause.kind), EndpointUnavailableError)
        return kind(f"in this or another process: {pause.error}")

    async def respect_latch(self, record: Record | None, after: TokenEndpointError | None) -> None:
        """Raise `HeldOffError` while the fleet lets these credentials rest. after: as for `Asking.sign_in`."""
        latch = record.latch if record is not None else None
        if latch is None:
            return
        left = latch.until - self._clock.wall()
        if not 0 < left <= LONGEST_LATCH or self._may_probe(latch) or not await self._may_be_the_same(latch):
            return
        kind = next((each for each in CREDENTIALS_REFUSED if each.__name__ == latch.error), CredentialsRejectedError)
        error = kind(
            f"these credentials were refused, here or in another process, and rest for another {left:.0f} s so as not "
            "to lock the account; refresh() and sign_in() try at once"
        )
        error.__cause__ = after
        raise HeldOffError(error, left)

    async def after(
        self, record: Record, error: Exception, *, signing_in: bool, served: bool, at_most: float
    ) -> Record:
        """Return the record with what the fleet is to know of a failure: nothing, where it is this process's own.

        at_most: seconds that a pause may take while our token is served.
        """
        if signing_in and isinstance(error, NexudusAuthError) and is_refusal(error):
            latch = await self._latch(record.latch, error)
            self._refused = True
            return record._replace(latch=latch)
        if isinstance(error, TokenEndpointError) and not is_refusal(error):
            return record._replace(pause=self._pause(record.pause, error, served=served, at_most=at_most))
        return record

    def _left(self, record: Record | None, *, served: bool) -> float:
        pause = record.pause if record is not None else None
        if pause is None or (pause.served and not served):  # a pause of those who are served ends with the token
            return 0.0
        left = pause.until - self._clock.wall()
        return left if left <= LONGEST_PAUSE else 0.0

    def _pause(self, before: Pause | None, error: TokenEndpointError, *, served: bool, at_most: float) -> Pause:
        unexplained = is_unexplained(error)
        alike = before is not None and before.served == served and not (unexplained and before.kind != _kind(error))
        failures = 1 + (before.failures if before is not None and alike else 0)
        retry_after, chance = error.retry_after, self._chance()
        delay = (
            served_delay(failures, retry_after, chance, at_most)
            if served
            else empty_delay(failures, retry_after, chance, unexplained=unexplained)
        )
        return Pause(failures, self._clock.wall() + delay, served, _kind(error), str(error)[:MAX_TEXT])

    async def _latch(self, before: Latch | None, refusal: NexudusAuthError) -> Latch:
        rejections = 1 + (before.rejections if before is not None else 0)
        next_code_in = refusal.retry_after if isinstance(refusal, TotpRequiredError) else None
        now = self._clock.wall()
        probed = before is not None and self._may_probe(before) and now < before.until
        until = now + latch_delay(rejections, next_code_in)
        return Latch(rejections, until, type(refusal).__name__, await self._asking.fingerprint(), now, probed)

    def _may_probe(self, latch: Latch) -> bool:
        """Whether this process was started since, and is the first that was: a restart may try once."""
        return not self._refused and not latch.probed and latch.since > 0 and self._started > latch.since

    async def _may_be_the_same(self, latch: Latch) -> bool:
        """Whether these are the credentials that were refused, as far as can be told."""
        return latch.fingerprint is None or latch.fingerprint == await self._asking.fingerprint(latch.fingerprint)


def _kind(error: TokenEndpointError) -> str:
    return type(error).__name__
