"""Throttling by the clock."""

import dataclasses

import aiohttp
import pytest

from nexudus_async.testing import Limits, ManualClock, NexudusEmulator, Rate
from nexudus_async.testing._limits import Throttler

from .conftest import Client

CUSTOMER = "/api/public/billing/customer"
COWORKERS = "/api/spaces/coworkers"


async def test_a_request_too_many_is_a_409_with_retry_after(client: Client, clock: ManualClock) -> None:
    """One per 100 ms: rounded up to a second; the account next door is not concerned, nor the token endpoint."""
    client.emulator.enforce_limits = True
    client.emulator.add_user("two@example.com", "pw")
    mine = (await client.sign_in()).json["access_token"]
    other = (await client.sign_in(username="two@example.com", password="pw")).json["access_token"]
    assert (await client.call(CUSTOMER, mine)).status == 200
    refused = await client.call(CUSTOMER, mine)
    assert (refused.status, refused.headers["Retry-After"]) == (409, "1")
    assert (await client.call(CUSTOMER, other)).status == 200
    clock.advance(0.1)
    assert (await client.call(CUSTOMER, mine)).status == 200


async def test_limits_are_off_unless_asked_for(client: Client) -> None:
    """As fast as you like."""
    token = (await client.sign_in()).json["access_token"]
    assert {(await client.call(CUSTOMER, token)).status for _ in range(3)} == {200}


async def test_the_token_endpoint_is_limited_by_client_id_if_wanted() -> None:
    """Nothing exempts it from throttling for certain."""
    limits = Limits(token=(Rate(1, 5),))
    async with (
        NexudusEmulator(clock=ManualClock(), enforce_limits=True, limits=limits) as emulator,
        aiohttp.ClientSession() as http,
    ):
        client = Client(http, emulator)
        assert [(await client.sign_in(name)).status for name in ("a", "a", "b")] == [200, 409, 200]


def make(limits: Limits) -> tuple[Throttler, ManualClock]:
    clock = ManualClock(start_monotonic=0.1)
    return Throttler(limits, clock), clock


def test_windows_slide() -> None:
    """At most `count` in any window, wherever it starts; the wait is for the oldest to leave."""
    throttler, clock = make(Limits(api=(Rate(2, 60),)))
    assert throttler.admit_call("a", "GET") is None
    clock.advance(50)
    assert throttler.admit_call("a", "GET") is None
    clock.advance(9.5)
    assert throttler.admit_call("a", "GET") == 1
    clock.advance(0.5)
    assert throttler.admit_call("a", "GET") is None
    assert throttler.admit_call("a", "GET") == 50


def test_a_refused_request_counts_against_nothing() -> None:
    """Neither in the window that was full nor in the others."""
    throttler, clock = make(Limits(api=(Rate(1, 1), Rate(2, 60))))
    answers = [throttler.admit_call("a", "GET") for _ in range(5)]
    clock.advance(1)
    assert [*answers, throttler.admit_call("a", "GET")] == [None, 1, 1, 1, 1, None]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_writes_have_limits_of_their_own(method: str) -> None:
    """60 a minute, in addition to those for every method."""
    throttler, clock = make(Limits())
    for _ in range(60):
        assert throttler.admit_call("a", method) is None
        clock.advance(0.1)
    assert throttler.admit_call("a", method) == 54
    assert throttler.admit_call("a", "GET") is None


def test_the_documented_pace_is_never_refused() -> None:
    """A request every 0.72 s for an hour: the 5,000 of the hour are the tightest."""
    throttler, clock = make(Limits())
    for _ in range(6_000):
        assert throttler.admit_call("a", "GET") is None
        clock.advance(0.72)
    assert Limits().api == (Rate(1, 0.1), Rate(120, 60), Rate(5_000, 3_600), Rate(200_000, 86_400))


def test_one_per_100_ms_allows_ten_a_second() -> None:
    """Sums of floats do not count as early."""
    throttler, clock = make(Limits(api=(Rate(1, 0.1),)))
    for _ in range(1_000):
        assert throttler.admit_call("a", "GET") is None
        clock.advance(0.1)


@pytest.mark.parametrize(("count", "seconds"), [(0, 1), (1, 0), (1, -1), (1, float("nan")), (1, float("inf"))])
def test_an_impossible_rate_is_refused(count: int, seconds: float) -> None:
    """At once."""
    with pytest.raises(ValueError, match="rate"):
        Rate(count, seconds)


def test_a_window_refills_at_once() -> None:
    """At every multiple of its seconds, whenever the requests came."""
    throttler, clock = make(Limits(api=(Rate(2, 60, "window"),)))
    clock.advance(49.9)
    assert [throttler.admit_call("a", "GET") for _ in range(3)] == [None, None, 10]
    clock.advance(9.9)
    assert throttler.admit_call("a", "GET") == 1
    clock.advance(0.1)
    assert [throttler.admit_call("a", "GET") for _ in range(3)] == [None, None, 60]


def test_a_bucket_has_a_burst_and_then_a_rate() -> None:
    """20 a second with bursts of 5: five at once, then one every 50 ms; a pause fills it, to five and no more."""
    throttler, clock = make(Limits(api=(Rate(5, 0.25, "bucket"),)))
    assert [throttler.admit_call("a", "GET") for _ in range(6)] == [None] * 5 + [1]
    for _ in range(100):
        clock.advance(0.05)
        assert [throttler.admit_call("a", "GET") for _ in range(2)] == [None, 1]
    clock.advance(60)
    assert [throttler.admit_call("a", "GET") for _ in range(6)] == [None] * 5 + [1]


def test_an_unknown_refill_is_refused() -> None:
    """And says which there are."""
    with pytest.raises(ValueError, match='"sliding", "window" or "bucket"'):
        Rate(1, 1, "leaky")  # type: ignore[arg-type]


async def test_limits_by_address_count_all_accounts_together() -> None:
    """As "based on request signature" may mean; calls without a bearer count, too."""
    limits = Limits(api=(), address=(Rate(2, 60),), token_address=(Rate(2, 60),))
    async with NexudusEmulator(clock=ManualClock(), limits=limits, enforce_limits=True) as emulator:
        emulator.add_user("two@example.com", "pw")
        tokens = [emulator.issue().access_token, emulator.issue("two@example.com").access_token, None]
        async with aiohttp.ClientSession() as http, aiohttp.ClientSession(connector=other_address()) as elsewhere:
            near, far = Client(http, emulator), Client(elsewhere, emulator)
            assert [(await near.call(CUSTOMER, token)).status for token in tokens] == [200, 200, 409]
            assert (await far.call(CUSTOMER, tokens[0])).status == 200
            assert [(await near.sign_in(name)).status for name in ("a", "b", "c")] == [200, 200, 409]
            assert (await far.sign_in("c")).status == 200


def other_address() -> aiohttp.TCPConnector:
    """Return connections that come from another address of this machine's loopback network."""
    return aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))


async def test_the_public_api_has_a_limit_of_its_own(client: Client) -> None:
    """10 in 5 seconds, refused with 429, as seen live; the words in the body name the wait, too."""
    client.emulator.limits = dataclasses.replace(Limits.seen_live(), api=())
    client.emulator.enforce_limits = True
    token = client.emulator.issue().access_token
    assert {(await client.call(CUSTOMER, token)).status for _ in range(10)} == {200}
    refused = await client.call(CUSTOMER, token)
    assert (refused.status, refused.headers["Retry-After"]) == (429, "5")
    assert refused.json == {"Message": "Too many requests. Wait 5 seconds."}
    assert (await client.call(COWORKERS, token)).status == 200


async def test_a_refusal_may_be_a_429_without_the_header(client: Client) -> None:
    """Then there are only the words. Limits may change while it runs."""
    token = client.emulator.issue().access_token
    client.emulator.limits = Limits(api=(Rate(1, 60),), status=429, retry_after=False)
    client.emulator.enforce_limits = True
    assert (await client.call(COWORKERS, token)).status == 200
    refused = await client.call(COWORKERS, token)
    assert (refused.status, "Retry-After" in refused.headers) == (429, False)
    assert refused.json == {"Message": "Too many requests. Wait 60 seconds."}
    client.emulator.limits = Limits(api=(Rate(2, 60),))
    assert (await client.call(COWORKERS, token)).status == 200
