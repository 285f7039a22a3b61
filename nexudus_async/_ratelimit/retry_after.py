"""How long an answer asks to wait: in `Retry-After`, or in words."""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

__all__ = ["MAX_WORDS", "retry_after", "wait_in_words"]

MAX_WORDS = 4096
"""Bytes of a body that are searched for "Wait N seconds": a longer one has other things to say."""
_WORDS = re.compile(rb"[Ww]ait (\d{1,6}) ?s")


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds of `Retry-After` (RFC 9110, section 10.2.3): 0 for the past, None for none and for garbage.

    A date is counted from `now`, this host's wall clock, and from the answer's own `Date`. The shorter wait is right:
    where the two clocks differ, it is the wrong one that makes a wait long, or ends it before it begins.
    """
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,10}", text):
        return float(text)
    moment = _moment(text)
    if moment is None:
        return None
    waits = [moment - now, moment - (_moment(headers.get("Date", "")) or now)]
    return min((wait for wait in waits if wait > 0), default=0.0)


def wait_in_words(body: bytes) -> float | None:
    """Return N of the "Wait N seconds" that Nexudus was seen to write into a 429 without the header, or None."""
    found = _WORDS.search(body[:MAX_WORDS])
    return float(found.group(1)) if found else None


def _moment(text: str) -> float | None:
    """Return the Unix time of an HTTP date (RFC 9110, section 5.6.7), None for garbage."""
    try:
        when = parsedate_to_datetime(text if ":" in text else "")
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
