"""How long an answer asks to wait, when clocks differ, and in words. Every form of the header: `test_wire_http.py`."""

from email.utils import formatdate

import pytest

from nexudus_async._ratelimit.retry_after import MAX_WORDS, retry_after, wait_in_words
from tests.oauth.grants import SENT_AT, fail


@pytest.mark.parametrize("ahead", [-3600, -5, 0, 5, 3600])
def test_a_date_is_right_by_either_clock(ahead: float) -> None:
    """This host is an hour off, or a little; the service says what time it has."""
    headers = {"Retry-After": formatdate(SENT_AT + 10, usegmt=True), "Date": formatdate(SENT_AT, usegmt=True)}
    assert retry_after(headers, SENT_AT + ahead) == (5 if ahead == 5 else 10)


@pytest.mark.parametrize("date", ["", "soon", formatdate(SENT_AT + 9e6, usegmt=True)])
def test_without_a_date_that_makes_sense_this_hosts_clock_counts(date: str) -> None:
    """A proxy's date, or none."""
    assert retry_after({"Retry-After": formatdate(SENT_AT + 10, usegmt=True), "Date": date}, SENT_AT) == 10


def test_a_moment_that_is_over_by_both_clocks_is_no_wait() -> None:
    """Now."""
    now = formatdate(SENT_AT, usegmt=True)
    assert retry_after({"Retry-After": now, "Date": now}, SENT_AT) == 0


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (b'{"Message": "Too many requests. Wait 12 seconds."}', 12.0),
        (b"please wait 3s", 3.0),
        (b"Wait", None),
        (b"", None),
        (b"Wait 99999999 seconds", None),
        (b" " * MAX_WORDS + b"Wait 1 second", None),
    ],
)
def test_a_wait_in_words(body: bytes, seconds: float | None) -> None:
    """As seen with 429."""
    assert wait_in_words(body) == seconds


def test_the_token_endpoints_words_count_too() -> None:
    """With 429 and without the header; a header counts for more."""
    words = {"Message": "Wait 7 seconds"}
    assert fail(status=429, body=words).retry_after == 7
