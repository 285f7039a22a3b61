"""How long an answer asks to wait: in `Retry-After`, or in words."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from multidict import MultiMapping

__all__ = ["MAX_WORDS", "THROTTLED", "TOO_MANY_REQUESTS", "retry_after", "wait_in_words"]

TOO_MANY_REQUESTS: Final = 429
THROTTLED: Final = (409, TOO_MANY_REQUESTS)
"""The statuses of a throttled request: Nexudus documents 409, "for legacy reasons", and 429 is seen too."""
MAX_WORDS = 4096
"""Bytes of a body that are searched for "Wait N seconds": a longer one has other things to say."""
LONGEST: Final = 9_999_999_999.0
"""Seconds. What asks for more is taken for this much: whoever has to wait has a limit of its own, far below."""
_WORDS = rb"[Ww]ait (\d{1,6}) ?s"
_SECONDS = r"(?i)(?P<sign>[+-]?)(?P<number>[0-9]+(\.[0-9]*)?|\.[0-9]+) ?(s|seconds?)?"
_BETWEEN_VALUES = r",(?! ?[0-9]{2}[ -][A-Z][a-z]{2})"
"""A comma, but not the one in "Thu, 01 Jan 2026"."""


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds of `Retry-After` (RFC 9110, section 10.2.3): 0 for the past, None for none and for garbage.

    RFC 9110 knows whole seconds and dates. Seen are fractions, signs, and several values, where each proxy on the way
    added its own: the longest wait counts. A date is counted from `now`, this host's wall clock, and from the answer's
    own `Date`. The shorter wait is right: where the two clocks differ, it is the wrong one that makes a wait long, or
    ends it before it begins.
    """
    date = _moment(headers.get("Date", ""))
    waits = [_wait(text, now, date) for text in _values(headers)]
    known = [wait for wait in waits if wait is not None]
    return min(max(known), LONGEST) if known else None


def _values(headers: Mapping[str, str]) -> Iterable[str]:
    """Yield the values in all the lines of the header; a multidict, as aiohttp's, may have several."""
    lines = headers.getall("Retry-After", []) if isinstance(headers, MultiMapping) else [headers.get("Retry-After", "")]
    for line in lines:
        yield from re.split(_BETWEEN_VALUES, line)


def _wait(text: str, now: float, date: float | None) -> float | None:
    """Return the seconds that one value asks to wait, None for garbage."""
    seconds = re.fullmatch(_SECONDS, text.strip())
    if seconds is not None:
        return 0.0 if seconds["sign"] == "-" else float(seconds["number"])
    moment = _moment(text)
    if moment is None:
        return None
    return min((wait for wait in (moment - now, moment - (date or now)) if wait > 0), default=0.0)


def wait_in_words(body: bytes) -> float | None:
    """Return N of the "Wait N seconds" that Nexudus was seen to write into a 429 without the header, or None."""
    found = re.search(_WORDS, body[:MAX_WORDS])
    return float(found.group(1)) if found else None


def _moment(text: str) -> float | None:
    """Return the Unix time of an HTTP date (RFC 9110, section 5.6.7), None for garbage."""
    try:
        when = parsedate_to_datetime(text if ":" in text else "")
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
