"""The values that go into the state of a token, and those that come out of it."""

from typing import NamedTuple

from nexudus_async._events import Grant
from nexudus_async._token import MAX_LIFETIME, Token, can_be_sent


class Obtained(NamedTuple):
    """A token, the grant that brought it, and when the source was asked, by both readings of the clock.

    grant: None for a token that was handed over: nobody has been asked for it.
    """

    token: Token
    grant: Grant | None
    asked: float
    asked_wall: float


class Granted(NamedTuple):
    """What came of an answer.

    token: with its generation. good: whether it serves those who wait; else its refresh token may bring another.
    """

    token: Token
    good: bool


class Shared(NamedTuple):
    """What another process has left: a token with seconds to live, or none; the generation; whether it was a logout.

    ends: the `client_id` of the chain that a logout has ended, where that is news.
    """

    token: Token | None
    generation: int
    life_left: float
    logged_out: bool
    ends: str | None = None


class Failed(NamedTuple):
    """What came of a failure. retry_in: seconds without another attempt. served: whether a token is still good."""

    failures: int
    retry_in: float
    served: bool


def problem_of(token: object) -> str | None:
    """Return what is wrong with what a source gave, without showing it; None for a token that can be held and sent."""
    if not isinstance(token, Token):
        return f"it gave {type(token).__name__}, not a Token"
    if not can_be_sent(token):
        return "it has characters that no header can carry"
    if not 0 < token.lifetime <= MAX_LIFETIME:  # NaN included
        return "its lifetime must be more than 0 and at most ten years, in seconds"
    return None
