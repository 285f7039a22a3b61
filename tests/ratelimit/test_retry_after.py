"""How long an answer asks to wait, when clocks differ, and in words. Its other forms: `test_protocol_http.py`."""

from email.utils import formatdate

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from nexudus_async._ratelimit.retry_after import LONGEST, MAX_WORDS, retry_after, wait_in_words
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


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("99999999999", LONGEST),
        ("9" * 400, LONGEST),
        ("0.503", 0.503),
        ("1.0", 1.0),
        ("5.", 5.0),
        (".5", 0.5),
        ("1, 1", 1.0),
        ("1,7 ,2", 7.0),
        ("+5", 5.0),
        ("\t5 ", 5.0),
        ("007", 7.0),
        ("5s", 5.0),
        ("5 seconds", 5.0),
        ("-5", 0.0),
        ("-0.5", 0.0),
        ("0", 0.0),
        ("5, soon", 5.0),
        ("Thu, 01 Jan 9999 00:00:00 GMT", LONGEST),
        (formatdate(SENT_AT + 60, usegmt=True), 60.0),
        ("Thursday, 01-Jan-26 00:01:00 GMT", 60.0),
        ("Thu Jan  1 00:01:00 2026", 60.0),
        (f"{formatdate(SENT_AT + 60, usegmt=True)}, 7", 60.0),
        ("7, Thu Jan  1 00:01:00 2026", 60.0),
        ("soon, sooner", None),
        ("1.0.0", None),
        ("1e3", None),
        ("0x10", None),
        ("inf", None),
        ("nan", None),
        ("5 hours", None),
        ("\N{ARABIC-INDIC DIGIT FIVE}", None),
        ("", None),
        (",", None),
    ],
)
def test_what_servers_and_proxies_make_of_it(value: str, seconds: float | None) -> None:
    """Whatever says how long is a wait, and a 409 with it no conflict; a wait is never endless, never negative."""
    assert retry_after({"Retry-After": value}, SENT_AT) == seconds


def test_each_proxy_on_the_way_may_add_a_line() -> None:
    """The longest wait counts, be it seconds or a date."""
    lines = [("Retry-After", "1"), ("retry-after", formatdate(SENT_AT + 9, usegmt=True)), ("Retry-After", "soon")]
    assert retry_after(CIMultiDict(lines), SENT_AT) == 9
    assert retry_after(CIMultiDictProxy(CIMultiDict(lines[2:])), SENT_AT) is None
    assert retry_after(CIMultiDict(), SENT_AT) is None
