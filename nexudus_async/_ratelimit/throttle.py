"""How patiently a throttled request is replayed, and how long its answer asks to wait."""

from dataclasses import dataclass

import aiohttp
import anyio

from nexudus_async._clock import Clock
from nexudus_async._validation import check_seconds
from nexudus_async._value import Value
from nexudus_async.errors import ConfigurationError

from .retry_after import MAX_WORDS, TOO_MANY_REQUESTS, retry_after, wait_in_words

__all__ = ["Patience", "Throttle"]

WORDS_TIMEOUT = 1.0
"""Seconds to wait for the body of a 429 without a header: a throttled answer is short, and its caller waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Throttle(Value):
    """How patiently a request is replayed when the API throttles it (https://developers.nexudus.com, "Throttling").

    max_replays: how often one request is sent again. Five, because every one of them comes after a pause that the
        service itself named: more means that it does not keep its word.
    max_wait: seconds that one request waits in all for its own throttled answers. A minute, the longest window of
        the documented limits that a caller would sit out. An answer that asks for more is returned at once.
    first_wait: seconds to wait for a 429 that names none; doubled each time.

    From the first throttled answer on the session sends at the rate that the service lets through, which it learns
    from what is served and what is refused, and from `RateLimit` fields; `statistics().rate` shows it. The first pause
    is kept by all, and so is each of 2 s or more; after a shorter one only the request itself waits. Ten minutes
    without a refusal, and without a request that had to wait, and nothing is paced any more. Sessions and processes
    that share a limit, and know nothing of each other, use all of it together; their shares may differ for minutes.

    During a pause the session sends nothing, those requests included that wait for a connection of its pool; in the
    pool of a borrowed `client_session` they are out of reach, and go out as connections come free.
    A 409 without `Retry-After` is an ordinary conflict, and the caller's. Raises `ConfigurationError` for nonsense.
    """

    max_replays: int = 5
    max_wait: float = 60.0
    first_wait: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.max_replays, int) or isinstance(self.max_replays, bool) or self.max_replays < 0:
            raise ConfigurationError(f"max_replays must be a whole number, 0 or more, not {self.max_replays!r}")
        for name in ("max_wait", "first_wait"):
            check_seconds(name, getattr(self, name), zero=True)


class Patience:
    """What one request has left of the replays and the waiting that `Throttle` grants it."""

    def __init__(self, throttle: Throttle, clock: Clock) -> None:
        self._throttle, self._clock = throttle, clock
        self.replays = 0
        self.asked: float | None = None
        """The seconds to wait after the last answer; None: it was not throttled."""
        self.named: float | None = None
        """Those that the answer named itself, if it did."""
        self.body: bytes | None = None
        """The body of the last answer, where it was read in search of them."""
        self._waited = 0.0

    @property
    def spent(self) -> bool:
        """Whether the request will not be sent again, whatever is asked."""
        return self.replays >= self._throttle.max_replays

    @property
    def last_ones(self) -> int:
        """How many replays were used, if few are left, so that others should meet a refusal that is likely; else 0."""
        return self.replays if 2 * self.replays > self._throttle.max_replays else 0

    async def pause_for(self, answer: aiohttp.ClientResponse | aiohttp.ClientResponseError) -> float | None:
        """Return the seconds that a throttled answer asks for, None where it is the caller's, and take them off."""
        self.asked = asked = await self._asked_by(answer)
        if asked is None or self.spent:
            return None
        if self._waited + asked > self._throttle.max_wait:
            return None
        self.replays += 1
        self._waited += asked
        return asked

    async def _asked_by(self, answer: aiohttp.ClientResponse | aiohttp.ClientResponseError) -> float | None:
        self.body, self.named = None, retry_after(answer.headers or {}, self._clock.wall())
        if self.named is not None or answer.status != TOO_MANY_REQUESTS:
            return self.named
        if isinstance(answer, aiohttp.ClientResponse) and (body := await _short_body(answer)) is not None:
            self.body, self.named = body, wait_in_words(body)
        return self.named if self.named is not None else self._throttle.first_wait * 2.0**self.replays


async def _short_body(response: aiohttp.ClientResponse) -> bytes | None:
    """Return the body, if it is short and here soon."""
    content = response.content
    try:
        with anyio.move_on_after(WORDS_TIMEOUT):
            await content.wait_eof()
        if not content.is_eof() or content.total_bytes > MAX_WORDS:
            return None
        return await response.read()
    except aiohttp.ClientError:  # the connection broke
        return None
