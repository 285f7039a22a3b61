"""Credentials for one use: what was taken is what is used."""

import itertools

import pytest

from nexudus_async import LoginRequiredError
from nexudus_async._oauth.in_hand import OneTime
from nexudus_async._oauth.sign_in import HOLD
from nexudus_async._refresh.tried import Tried
from nexudus_async._token import Secret
from nexudus_async.testing import ManualClock


@pytest.mark.parametrize("later", [0, HOLD - 1, HOLD + 1])
async def test_what_was_taken_is_used_however_much_later(clock: ManualClock, later: float) -> None:
    """A callable may give another one each time, and that would not count as tried."""
    numbers, tried = itertools.count(), Tried("key")

    async def fetch() -> Secret:
        return Secret(f"secret {next(numbers)}")

    one_time = OneTime(fetch, tried, clock, "used up")
    mark = await one_time.take()
    clock.advance(later)
    assert tried.mark_of(await one_time.use()) == mark


async def test_what_was_only_looked_at_is_fetched_anew_when_it_is_old(clock: ManualClock) -> None:
    """And what was used once is not used again, a look at it or not."""
    tried, given = Tried("key"), [Secret("old")]

    async def fetch() -> Secret:
        return given[-1]

    one_time = OneTime(fetch, tried, clock, "used up")
    await one_time.look()
    given.append(Secret("new"))
    clock.advance(HOLD + 1)
    assert await one_time.use() == "new"
    await one_time.look()
    with pytest.raises(LoginRequiredError, match="used up"):
        await one_time.use()
