"""`RateLimit` fields: every form that was seen, and what is made of garbage."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from nexudus_async import TokenSession
from nexudus_async._ratelimit.fields import remaining_in
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER

from .throttling import calls, let_time_pass, settle, status

NOW = 1_767_225_600.0


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"RateLimit": '"default";r=50;t=30'}, (50, 30)),
        ({"RateLimit": '"default"; r=50; t=30'}, (50, 30)),
        ({"RateLimit": '"minute";r=50;t=30, "hour";r=20;t=3000'}, (20, 3000)),
        ({"RateLimit": '"a,b;r=1;t=1";r=0;t=5'}, (0, 5)),
        ({"RateLimit": '"default";t=30;pk=:cHJpdmF0ZQ==:;r=7'}, (7, 30)),
        ({"RateLimit": "limit=100, remaining=50, reset=30"}, (50, 30)),
        ({"RateLimit-Limit": "100", "RateLimit-Remaining": "50", "RateLimit-Reset": "30"}, (50, 30)),
        ({"X-RateLimit-Remaining": "50", "X-RateLimit-Reset": "30"}, (50, 30)),
        ({"x-ratelimit-remaining": " 50 ", "x-ratelimit-reset": "29.5"}, (50, 29.5)),
        ({"X-Rate-Limit-Remaining": "50", "X-Rate-Limit-Reset": "30"}, (50, 30)),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW) + 30)}, (0, 30)),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str((int(NOW) + 30) * 1000)}, (0, 30)),
        ({"X-RateLimit-Remaining": "9", "X-RateLimit-Reset": str(int(NOW) - 30)}, (9, 0)),
    ],
)
def test_every_form_is_read(headers: dict[str, str], said: tuple[float, float]) -> None:
    """The draft's, the one before, and the older fields with seconds, a moment, or one in milliseconds."""
    assert remaining_in(CIMultiDict(headers), NOW) == said


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"RateLimit": ""},
        {"RateLimit": '"default"'},
        {"RateLimit": '"default";r=50'},
        {"RateLimit": '"default";r=-1;t=30'},
        {"RateLimit": '"default";r=many;t=30'},
        {"RateLimit": '"default";r=5.5;t=1e9'},
        {"RateLimit": "\x00\xff;;;===,,,"},
        {"RateLimit-Policy": '"default";q=100;w=60'},
        {"X-RateLimit-Remaining": "50"},
        {"X-RateLimit-Remaining": "-1", "X-RateLimit-Reset": "30"},
        {"X-RateLimit-Remaining": "nan", "X-RateLimit-Reset": "inf"},
        {"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "Thu, 01 Jan 2026 00:00:00 GMT"},
        {"X-RateLimit-Remaining": "9" * 400, "X-RateLimit-Reset": "1"},
    ],
)
def test_garbage_says_nothing(headers: dict[str, str]) -> None:
    assert remaining_in(CIMultiDict(headers), NOW) is None


@given(st.text(max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_nothing_that_a_header_can_hold_breaks_it(field: str, left: str, reset: str) -> None:
    said = remaining_in({"RateLimit": field, "X-RateLimit-Remaining": left, "X-RateLimit-Reset": reset}, NOW)
    assert said is None or (said.requests >= 0 and said.seconds >= 0)


async def test_when_none_are_left_nothing_is_sent_until_there_are_more(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock
) -> None:
    """Once something was throttled: before, nobody looks at the fields."""
    for left in ("5", "0"):
        said = {"X-RateLimit-Remaining": left, "X-RateLimit-Reset": "20"}
        emulator.fail(CUSTOMER, Fault.answer(200, b"{}", headers=said), times=1)
    assert [await status(session) for _ in range(2)] == [200, 200]
    assert session.statistics().paused_for == 0
    emulator.fail(CUSTOMER, Fault.throttled(1))
    for left in ("5", "0"):
        said = {"X-RateLimit-Remaining": left, "X-RateLimit-Reset": "20"}
        emulator.fail(CUSTOMER, Fault.answer(200, b"{}", headers=said), times=1)
    for _ in range(2):
        await let_time_pass(clock, asyncio.create_task(status(session)))
    assert session.statistics().paused_for == pytest.approx(20)
    late = asyncio.create_task(status(session))
    clock.advance(19.9)
    await settle()
    assert calls(emulator) == 5
    await let_time_pass(clock, late)
    assert late.result() == 200
