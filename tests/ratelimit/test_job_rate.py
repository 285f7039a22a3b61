"""A job runs at the limiter's rate, whatever that is: at least 0.8 of it, few refusals, and no caller sees one."""

from collections.abc import Callable

import pytest

from tests.simulation.api import ApiFault

from .jobs import ALONE, CONFLICT, SECOND, Bucket, Job, Window

SERVED, REFUSED = 0.8, 0.25
"""Shares: of what the limiter allows; of what was sent."""
refusals = pytest.mark.parametrize("refusal", [ALONE, SECOND, CONFLICT], ids=["429 alone", "429", "409"])


@refusals
@pytest.mark.parametrize(
    ("limiter", "seconds", "first"),
    [
        (lambda: Bucket(2), 60, 6),
        (lambda: Bucket(20, 5), 24, 6),
        (lambda: Bucket(200, 20), 12, 6),
        (lambda: Window(30, 1), 24, 6),
        (lambda: Window(120, 60), 240, 60),
    ],
    ids=["2/s", "20/s", "200/s", "30 in a second", "120 in a minute"],
)
def test_a_job_runs_at_the_rate_of_the_limiter(
    refusal: ApiFault, limiter: Callable[[], Bucket], seconds: float, first: float
) -> None:
    """Without a number given by hand, and however it refuses."""
    job = Job(limiter(), refusal, seconds=seconds, first=first)
    outcome = job.run()
    assert outcome.served >= SERVED, outcome
    assert outcome.refused <= REFUSED, outcome
    assert outcome.errors == 0
    rate = job.service.limiter.allowed(0, 60) / 60
    assert outcome.rates[0] == pytest.approx(rate, rel=0.25), "what `statistics()` shows"


@refusals
def test_a_limit_that_changes_is_followed(refusal: ApiFault) -> None:
    """Up and down: 20, then 60, then 8 a second."""
    limiter = Bucket(20, 5)
    limiter.change(20, 60)
    limiter.change(40, 8)
    job = Job(limiter, refusal, seconds=60)
    outcome = job.run()
    assert outcome.served >= SERVED, outcome
    assert outcome.refused <= REFUSED, outcome
    assert outcome.errors == 0
    for start, end in ((26, 40), (46, 60)):
        served = sum(free for when, _, free in job.service.times if start <= when < end)
        assert served >= SERVED * limiter.allowed(start, end)


@refusals
@pytest.mark.parametrize(
    ("writes", "seconds", "first"),
    [(lambda: Bucket(1, 5), 120, 6), (lambda: Window(60, 60), 240, 60)],
    ids=["a bucket", "a window"],
)
def test_writes_have_a_limit_of_their_own(
    refusal: ApiFault, writes: Callable[[], Bucket], seconds: float, first: float
) -> None:
    """60 a minute, beside reads at 20 a second: neither takes from the other."""
    limiter = writes()
    job = Job(Bucket(20, 5), refusal, writes=limiter, write_share=0.3, seconds=seconds, first=first)
    outcome = job.run()
    assert outcome.served >= SERVED, outcome
    assert outcome.refused <= REFUSED, outcome
    assert outcome.errors == 0
    of_writes = job.outcome("POST", limiter)
    assert of_writes.served >= SERVED, of_writes
    assert of_writes.refused <= REFUSED, of_writes


@refusals
@pytest.mark.parametrize(("rate", "sessions"), [(20, 4), (20, 10), (2, 3)])
def test_sessions_that_share_an_account_and_know_nothing_of_each_other(
    refusal: ApiFault, rate: float, sessions: int
) -> None:
    """As those of several processes: together they get what one would."""
    outcome = Job(Bucket(rate, 5), refusal, sessions=sessions, coroutines=8, seconds=90).run()
    assert outcome.served >= SERVED, outcome
    assert outcome.refused <= REFUSED, outcome
    assert outcome.errors == 0


@refusals
def test_what_the_fields_say_is_used(refusal: ApiFault) -> None:
    """A window that says how many are left is used up and hardly ever met closed."""
    limiter = Window(120, 60)
    job = Job(limiter, refusal, seconds=240, first=60)
    job.service.fields = limiter.fields
    outcome = job.run()
    assert outcome.served >= SERVED, outcome
    assert outcome.refused <= 0.02, outcome
    assert outcome.errors == 0
