"""The adaptive rate by itself: what each answer changes, second by second."""

import itertools
import math

import pytest

from nexudus_async._ratelimit.adaptive_rate import (
    FORGET,
    HOVER,
    IDLE,
    LONGEST_STEP,
    OUTAGE,
    SLOWEST,
    START,
    START_GAIN,
    UNPACED,
    AdaptiveRate,
)
from nexudus_async._ratelimit.request_rates import RequestRates


class Client:
    """Sends one request after the other, as soon as it may, and is answered at once."""

    def __init__(self, rate: AdaptiveRate, now: float = 100.0) -> None:
        self.rate, self.now = rate, now

    def send(self, came: float = -math.inf) -> float:
        """Wait for a turn, take it, and return the ticket. came: long ago, as whoever waits in a queue."""
        self.now += self.rate.delay(self.now)
        return self.rate.take(self.now, came)

    def serve(self, n: int = 1) -> None:
        for _ in range(n):
            self.rate.served(self.send(), self.now)

    def refuse(self, n: int = 1, asked: float | None = None) -> None:
        for _ in range(n):
            self.rate.throttled(self.send(), self.now, asked)


@pytest.fixture
def rate() -> AdaptiveRate:
    return AdaptiveRate(first_wait=1.0)


@pytest.fixture
def client(rate: AdaptiveRate) -> Client:
    return Client(rate)


def engage(client: Client, asked: float | None = None) -> None:
    client.rate.throttled(UNPACED, client.now, asked)


def learn(client: Client, limit: float, n: int = 20) -> None:
    """Let it learn about this limit: so many were served, evenly, and then one was refused."""
    engage(client, 0.0)
    client.serve()
    for _ in range(3):
        for _ in range(n):
            ticket = client.send()
            client.now = max(client.now, ticket + 1 / limit)
            client.rate.served(ticket, client.now)
        client.refuse()
        client.serve()


def test_nothing_waits_before_the_first_throttled_answer(rate: AdaptiveRate) -> None:
    assert not rate.engaged
    assert rate.delay(100) == 0
    assert rate.limit is None


@pytest.mark.parametrize(("asked", "pause"), [(None, 1), (0, 0), (0.5, 0.5), (7, 7)])
def test_the_first_is_a_pause_and_then_one_probes(client: Client, asked: float | None, pause: float) -> None:
    """As long as it asks, or else `first_wait`; the next waits for the probe's answer, or for ten seconds."""
    engage(client, asked)
    assert client.rate.delay(100) == pause
    ticket = client.send()
    assert client.now == 100 + pause
    assert client.rate.delay(client.now) == pytest.approx(LONGEST_STEP, abs=0.01)
    client.rate.served(ticket, client.now)
    assert client.rate.delay(client.now) <= 1 / START


def test_the_start_is_slow_and_grows_with_every_answer(client: Client) -> None:
    """By a constant for each that is served, so that the requests per second double again and again."""
    engage(client)
    client.serve()
    for n in range(1, 10):
        assert client.rate.rate == START + n * START_GAIN
        client.serve()


def test_a_refusal_ends_the_start_near_what_was_served(client: Client) -> None:
    """Between that and the rate that was refused; and the rate hovers a little below."""
    engage(client)
    client.serve(21)
    served = 20 / (client.now - 101)
    refused_at = client.rate.rate
    client.refuse()
    assert client.rate.limit is not None
    assert served < client.rate.limit < refused_at
    assert client.rate.rate == HOVER * client.rate.limit


def test_the_rate_comes_back_to_the_limit_and_then_goes_beyond_it_ever_faster(client: Client) -> None:
    """In a round of eight answers; after three more it is twice as high, so that a limit that was raised is found."""
    learn(client, 5)
    limit = client.rate.limit
    assert limit is not None
    client.serve(6)
    assert HOVER * limit < client.rate.rate <= limit * 1.01
    assert not client.rate.above
    client.serve(4)
    assert client.rate.above
    client.serve(20)
    assert client.rate.rate > 1.5 * limit


def test_a_rate_that_nobody_needs_does_not_grow(client: Client) -> None:
    learn(client, 5)
    client.now += 10
    client.serve()
    before = client.rate.rate
    for _ in range(50):
        client.now += 1
        client.rate.served(client.rate.take(client.now, client.now), client.now)
    assert client.rate.rate == pytest.approx(before, rel=0.01)  # the round trip is shorter now


def test_one_refusal_is_one_event(client: Client) -> None:
    """What was sent before it was handled was sent at the same rate."""
    learn(client, 5)
    tickets = [client.send() for _ in range(3)]
    client.refuse()
    limit = client.rate.limit
    for ticket in tickets:
        client.rate.throttled(ticket, client.now)
        client.rate.served(ticket, client.now)
    assert client.rate.limit == limit
    assert client.rate.dark


def test_in_the_dark_one_goes_at_a_time_with_twice_the_pause(client: Client) -> None:
    """And the limit is not touched: the limiter may be closed, which says nothing about its rate."""
    learn(client, 5)
    client.refuse()
    limit = client.rate.limit
    times: list[float] = []
    for _ in range(8):
        client.refuse()
        times.append(client.now)
    steps = [after - before for before, after in itertools.pairwise(times[1:])]
    assert steps[:3] == pytest.approx([each / client.rate.rate for each in (4, 8, 16)], rel=0.1)
    assert steps[-1] == LONGEST_STEP
    assert client.rate.limit == limit


def test_a_long_dark_was_a_window(client: Client) -> None:
    """What was served in it and before, by the length of both, is the limit: 60 in a minute."""
    engage(client, 0.0)
    client.serve(60)
    window = client.now - 100
    while client.now < 160:
        client.refuse()
    client.serve()
    assert window < 10
    assert client.rate.limit == pytest.approx(1.0, rel=0.2)  # the last step in the dark was long


def test_a_window_is_measured_over_the_refusals_in_it(client: Client) -> None:
    """One of another limit, shortly before this one is used up, does not make a window of the rest."""
    engage(client, 0.0)
    client.serve(50)
    client.refuse()
    client.serve(9)
    while client.now < 160:
        client.refuse()
    client.serve()
    assert client.rate.limit == pytest.approx(1.0, rel=0.2)


def test_idle_time_is_not_measured(client: Client) -> None:
    """A burst after an hour that is refused once is not sent at one an hour, and never at less than one in 10 s."""
    learn(client, 5)
    for _ in range(5):
        client.now += 100 * IDLE
        client.rate.served(client.send(client.now), client.now)
    client.refuse()
    assert client.rate.limit is not None
    assert client.rate.limit > 1
    for _ in range(30):
        client.now += 0.9
        client.refuse()
        client.rate.dark = False
    assert client.rate.limit >= SLOWEST


@pytest.mark.parametrize(("asked", "held"), [(1, False), (1.9, False), (2, True), (30, True)])
def test_who_is_asked_for_long_is_obeyed_by_all(client: Client, asked: float, held: bool) -> None:
    """`Retry-After` counts whole seconds: 1 may be a tenth, and only the request itself waits."""
    learn(client, 5)
    client.refuse(asked=asked)
    assert client.rate.held_until == (client.now + asked if held else 100)


def test_after_a_while_without_a_wait_it_is_forgotten(client: Client) -> None:
    """Ten minutes in which nobody was refused, and nobody had to wait."""
    learn(client, 5)
    client.now += FORGET - 1
    client.send(client.now)
    assert client.rate.engaged
    client.now += 2
    client.send(client.now)
    assert not client.rate.engaged
    assert client.rate.delay(client.now) == 0


def test_failures_in_a_row_are_an_outage(client: Client) -> None:
    """The next does not wait for the one before. Cancelled requests are no failures."""
    engage(client)
    for _ in range(OUTAGE):
        client.rate.released(client.send(), client.now)
    assert client.rate.delay(client.now) == pytest.approx(1 / START)
    client.send()
    assert client.rate.delay(client.now) == pytest.approx(LONGEST_STEP, abs=0.01)
    client.now += LONGEST_STEP
    for _ in range(OUTAGE):
        client.rate.released(client.send(), client.now, failed=True)
    client.send()
    assert client.rate.delay(client.now) == pytest.approx(1 / START, abs=0.01)


def test_while_a_refusal_is_likely_it_says_so(client: Client) -> None:
    """In the slow start, in the dark and until some have been served after it, and above the limit."""
    assert not client.rate.probing
    engage(client)
    client.serve()
    client.send()
    assert client.rate.probing
    learn(client, 5)
    client.refuse()
    assert client.rate.probing
    client.serve(3)
    assert client.rate.probing
    client.serve(3)
    assert not client.rate.probing
    client.serve(10)
    assert client.rate.probing


def test_a_late_request_does_not_make_up_for_lost_time(client: Client) -> None:
    """A bucket of one token: after a minute one goes, and the next waits."""
    learn(client, 5)
    client.now += 60
    client.send()
    assert client.rate.delay(client.now) > 0.9 / client.rate.rate


class TestFields:
    """What `RateLimit` fields say is believed within bounds."""

    def test_none_left_is_a_pause(self, client: Client) -> None:
        """But none for who says so always: those fields do not count."""
        learn(client, 5)
        client.rate.told(0, 10, client.now)
        assert client.rate.delay(client.now) < 1
        client.rate.told(1, 10, client.now)
        client.rate.told(0, 10, client.now)
        assert client.rate.delay(client.now) == 10

    def test_the_first_answer_in_a_new_window_tells_its_limit(self, client: Client) -> None:
        learn(client, 5)
        client.rate.told(100, 20, client.now)
        before = client.rate.limit
        client.rate.told(3, 2, client.now + 18)
        assert client.rate.limit == before
        client.rate.told(160, 20, client.now + 20)
        assert client.rate.limit == 8

    @pytest.mark.parametrize(("remaining", "factor"), [(2, 0.5), (1_000_000, 2.0)])
    def test_it_is_no_more_than_twice_or_half_of_what_is_known(
        self, client: Client, remaining: float, factor: float
    ) -> None:
        learn(client, 5)
        client.rate.told(1, 2, client.now)
        known = client.rate.limit
        assert known is not None
        client.rate.told(remaining, 20, client.now)
        assert client.rate.limit == factor * known

    def test_an_answer_that_was_overtaken_is_no_new_window(self, client: Client) -> None:
        """It may name a second more, and one more that remains."""
        learn(client, 5)
        client.rate.told(50, 20, client.now)
        before = client.rate.limit
        client.rate.told(51, 21, client.now)
        client.rate.told(49, 40, client.now)
        assert client.rate.limit == before

    @pytest.mark.parametrize(("remaining", "reset"), [(0, 1.0), (0, 61.0), (100, 3600.0)])
    def test_seconds_and_quotas_are_not_believed(self, client: Client, remaining: float, reset: float) -> None:
        """The first are rounded, the others no rate."""
        learn(client, 5)
        before = (client.rate.limit, client.rate.delay(client.now))
        client.rate.told(remaining, reset, client.now)
        assert (client.rate.limit, client.rate.delay(client.now)) == before

    def test_nothing_is_believed_before_something_was_throttled(self, rate: AdaptiveRate) -> None:
        rate.told(0, 10, 100)
        assert rate.delay(100) == 0


class TestReadsAndWrites:
    """Writes pass two limits."""

    def test_the_first_throttled_write_stops_everybody(self) -> None:
        rates = RequestRates()
        rates.throttled(UNPACED, 100, 5, write=True)
        assert rates.delay(100, write=False) == rates.delay(100, write=True) == 5
        assert rates.held_until == 105

    def test_later_a_write_meets_its_own_limit(self) -> None:
        """And the reads do not wait, unless it asks for long."""
        rates = engaged()
        ticket = rates.take(110, 110, write=True)
        rates.throttled(ticket, 110, 1, write=True)
        assert rates.writes.limit is not None
        assert rates.all.limit is None
        rates.throttled(ticket, 110, 30, write=True)
        assert rates.delay(110, write=False) == 30

    def test_a_write_meets_the_limit_of_all_where_too_many_are_sent_in_all(self) -> None:
        rates = engaged()
        rates.throttled(rates.take(110, 110, write=True), 110, write=True)
        rates.throttled(rates.take(112, 112, write=False), 112, write=False)
        now = 120.0
        while not rates.all.above:
            rates.served(rates.take(now, -math.inf, write=False), now, write=False)
            now += 0.1
        before = rates.writes.limit
        rates.throttled(rates.take(now, now, write=True), now, write=True)
        assert rates.writes.limit == before
        assert rates.all.dark

    def test_it_is_engaged_as_long_as_one_is(self) -> None:
        rates = engaged()
        rates.take(101 + FORGET, 101 + FORGET, write=False)
        assert rates.engaged, "writes have not been heard of"
        rates.take(101 + 2 * FORGET, 101 + 2 * FORGET, write=True)
        assert not rates.engaged


def engaged() -> RequestRates:
    """Return rates after a first throttled write and probes that were served."""
    rates = RequestRates()
    rates.throttled(UNPACED, 100, 0, write=True)
    for write in (True, False):
        rates.served(rates.take(100, 100, write=write), 100, write=write)
    return rates


def test_a_refusal_in_the_moment_of_the_first_good_answer_measures_nothing(client: Client) -> None:
    """No time has passed, by a clock that is coarse: what was served in none of it is no rate."""
    engage(client, 0.0)
    client.serve()
    client.rate.throttled(client.now, client.now, None)
    assert client.rate.limit is not None
