"""The memory of failure: which error holds off the next attempt, until when, and for whom."""

import math

import pytest

from nexudus_async import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    MalformedResponseError,
    NexudusAuthError,
    PasswordResetRequiredError,
    TotpRequiredError,
)
from nexudus_async._refresh.backoff import Backoff

START = 1_000.0
OUTAGE = EndpointUnavailableError("down")


class Memory:
    """A `Backoff` that is replaced by each failure, as the state does it."""

    def __init__(self) -> None:
        self.value = Backoff()

    def failed(self, error: NexudusAuthError, now: float, *, served: bool, chance: float = 0.0) -> float:
        self.value = self.value.failed(error, now, served=served, chance=chance)
        return self.value.retry_in(now, served=served)


def pauses(error: NexudusAuthError, times: int, *, served: bool, chance: float = 0.0) -> list[float]:
    backoff = Memory()
    return [backoff.failed(error, START, served=served, chance=chance) for _ in range(times)]


def test_without_a_failure_nothing_is_held_off() -> None:
    """The first attempt is free."""
    backoff = Memory()
    assert backoff.value.in_force(-math.inf, served=True) is None
    assert backoff.value.in_force(START, served=False) is None
    assert (
        backoff.value.failures,
        backoff.value.error,
        backoff.value.latched,
        backoff.value.retry_in(START, served=False),
    ) == (
        0,
        None,
        False,
        0.0,
    )


def test_while_served_the_pauses_are_long() -> None:
    """30, 60, 120, 300 s and no more; a quarter longer at most."""
    assert pauses(OUTAGE, 5, served=True) == [30, 60, 120, 300, 300]
    assert pauses(OUTAGE, 5, served=True, chance=1.0) == [37.5, 75, 150, 375, 375]


def test_with_nothing_to_serve_they_are_short() -> None:
    """0.5 s growing to 2, and to 5 when half a minute has not helped; a quarter shorter at most."""
    assert pauses(OUTAGE, 24, served=False) == [0.5, 1, *[2] * 20, 5, 5]
    assert pauses(OUTAGE, 24, served=False, chance=1.0) == [0.375, 0.75, *[1.5] * 20, 3.75, 3.75]


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_without_a_reason_may_be_one_of_the_credentials(status: int) -> None:
    """A slip is over soon; what lasts is asked some fifteen times an hour, and not 720. It is a row of its own."""
    error = MalformedResponseError("no reason", status=status)
    steps = [0.5, 1, 2, 30, 60, 120, 300, 300]
    assert pauses(error, 8, served=False) == steps
    assert pauses(error, 4, served=True) == [30, 60, 120, 300]
    backoff, now = Memory(), START
    for _ in range(10):
        now += backoff.failed(OUTAGE, now, served=False)
    assert backoff.failed(error, now, served=False) == 0.5


@pytest.mark.parametrize("status", [None, 200, 500, 600])
def test_an_answer_that_is_no_refusal_is_an_outage(status: int | None) -> None:
    """Something is in the way; it is over when it is over."""
    assert pauses(MalformedResponseError("no token", status=status), 5, served=False) == [0.5, 1, 2, 2, 2]


@pytest.mark.parametrize("served", [True, False])
def test_the_pause_ends_at_its_time(served: bool) -> None:
    """A moment before, the same error is given; at the time, nothing forbids an attempt."""
    backoff = Memory()
    until = START + backoff.failed(OUTAGE, START, served=served, chance=0.5)
    assert backoff.value.in_force(math.nextafter(until, 0), served=served) is OUTAGE
    assert backoff.value.in_force(until, served=served) is None
    assert backoff.value.retry_in(START, served=True) == until - START
    assert backoff.value.retry_in(until + 1, served=True) == 0.0


def test_a_pause_does_not_outlive_the_token_that_was_served() -> None:
    """Once callers would fail, an attempt is made at once."""
    backoff = Memory()
    backoff.failed(OUTAGE, START, served=True, chance=0.0)
    assert backoff.value.in_force(START, served=False) is None
    assert backoff.value.retry_in(START, served=False) == 0.0


def test_the_first_failure_without_a_token_starts_its_own_row() -> None:
    """Long pauses while served do not make those long that callers feel; the total still counts all."""
    backoff = Memory()
    for _ in range(4):
        backoff.failed(OUTAGE, START, served=True, chance=0.0)
    assert backoff.failed(OUTAGE, START, served=False, chance=0.0) == 0.5
    assert backoff.value.failures == 5


@pytest.mark.parametrize("served", [True, False])
@pytest.mark.parametrize(("retry_after", "pause"), [(0.1, None), (400.0, 400.0), (3601.0, 3600.0), (math.inf, 3600.0)])
def test_retry_after_is_never_undercut(served: bool, retry_after: float, pause: float | None) -> None:
    """An hour is the most it can ask."""
    asked = EndpointUnavailableError("throttled", status=409, retry_after=retry_after)
    own = 30.0 if served else 0.5
    assert pauses(asked, 1, served=served) == [own if pause is None else pause]


@pytest.mark.parametrize("rejection", [CredentialsRejectedError, PasswordResetRequiredError, TotpRequiredError])
@pytest.mark.parametrize("served", [True, False])
def test_refused_credentials_are_latched(rejection: type[NexudusAuthError], served: bool) -> None:
    """60 s, 300 s, then an hour each time: services lock accounts that insist. A living token changes nothing."""
    backoff, error = Memory(), rejection("no")
    assert backoff.failed(error, START, served=served, chance=1.0) == 60.0
    assert backoff.value.latched
    for someone_is_served in (True, False):
        assert backoff.value.in_force(START + 59.9, served=someone_is_served) is error
        assert backoff.value.in_force(START + 60.0, served=someone_is_served) is None
    now = START + 60
    for pause in (300.0, 3600.0, 3600.0):
        assert backoff.failed(error, now, served=served, chance=1.0) == pause
        now += pause


def test_an_outage_between_refusals_does_not_begin_again() -> None:
    """Only success clears the memory, and success makes a new one. Callers are told what happened last."""
    backoff, error, now = Memory(), CredentialsRejectedError("no"), START
    for failure, pause in ((error, 60), (OUTAGE, 0.5), (error, 300), (OUTAGE, 1), (error, 3600)):
        assert backoff.failed(failure, now, served=False) == pause
        assert backoff.value.error is failure
        assert backoff.value.latched is (failure is error)
        now += pause


def test_a_failure_of_another_kind_shortens_no_latch() -> None:
    """As when somebody asks by hand and meets a 503: the credentials rest all the same, and that is what is told."""
    backoff, error = Memory(), CredentialsRejectedError("no")
    backoff.failed(error, START, served=False)
    assert backoff.failed(OUTAGE, START + 10, served=False) == 50
    assert backoff.value.in_force(START + 59, served=False) is error
    assert backoff.value.looked == START + 10  # with the present credentials: no need to look whether they are others
    slow = EndpointUnavailableError("throttled", retry_after=100)
    assert backoff.failed(slow, START + 20, served=False) == 100


def test_the_last_refusal_is_the_one_that_counts() -> None:
    """As when somebody asks by hand, and the password is right now: it is the code that callers must hear of."""
    backoff, code = Memory(), TotpRequiredError("wrong", retry_after=3.0)
    backoff.failed(CredentialsRejectedError("no"), START, served=False)
    assert backoff.failed(code, START + 10, served=False) == 3.5
    assert backoff.value.error is code
    assert backoff.value.looked == -math.inf  # these are other credentials: nobody has looked yet for others still


def test_a_refusal_sets_its_own_pauses() -> None:
    """A `Retry-After` beside it is no reason to send a wrong password again in three seconds."""
    assert pauses(CredentialsRejectedError("no", retry_after=3.0), 2, served=False) == [60, 300]


@pytest.mark.parametrize("served", [True, False])
def test_what_others_know_holds_off_as_a_failure_of_our_own(served: bool) -> None:
    """For as long as they say; it counts as no failure, and as a look."""
    held = Backoff().held(OUTAGE, START + 20, START, served=served)
    assert (held.failures, held.looked, held.latched) == (0, START, False)
    assert held.in_force(START + 19, served=served) is OUTAGE
    assert held.in_force(START + 20, served=served) is None
    assert (held.in_force(START, served=False) is None) is served  # a pause while served ends with the token


def test_refused_credentials_rest_in_the_whole_fleet() -> None:
    """Whether a token is still served or not, as after a refusal of our own."""
    error = CredentialsRejectedError("no")
    held = Backoff().held(error, START + 60, START, served=True)
    assert held.latched
    assert held.in_force(START + 59, served=False) is error


def test_looking_again_makes_no_pause_longer() -> None:
    """What is in force ends at its time, however often it was found to be so."""
    backoff = Memory()
    backoff.failed(OUTAGE, START, served=True)
    held = backoff.value.held(OUTAGE, START + 1_000, START + 10, served=True)
    assert (held.error, held.until, held.looked) == (OUTAGE, START + 30, START + 10)


@pytest.mark.parametrize(
    ("first", "then", "told", "until"),
    [
        pytest.param("outage", "outage", "then", 100, id="an outage, then another"),
        pytest.param("outage", "refusal", "then", 100, id="an outage, then a refusal"),
        pytest.param("refusal", "outage", "first", 60, id="a refusal, then an outage"),
        pytest.param("refusal", "refusal", "then", 100, id="a refusal, then another"),
    ],
)
def test_what_others_know_takes_the_place_of_what_is_in_force(first: str, then: str, told: str, until: float) -> None:
    """It is the newest. But refused credentials rest, whatever else happens."""
    errors = {"outage": EndpointUnavailableError, "refusal": CredentialsRejectedError}
    ours, theirs = errors[first]("first"), errors[then]("then")
    before = Backoff().held(ours, START + 60, START, served=False)
    held = before.held(theirs, START + 100, START + 10, served=False)
    assert str(held.error) == told
    assert (held.until, held.looked) == (START + until, START + 10)
    assert before.held(theirs, START + 100, START + 60, served=False).error is theirs  # the pause is over


def test_a_refused_code_of_a_callable_rests_until_the_next() -> None:
    """But a host whose clock is wrong has no right code at all, and an account to be locked."""
    backoff, error, now = Memory(), TotpRequiredError("wrong", retry_after=3.0), START  # and half a second
    for pause in (3.5, 3.5, 3.5, 60.0, 300.0, 3600.0, 3600.0):
        assert backoff.failed(error, now, served=False) == pause
        now += pause


def test_any_error_of_a_source_is_held_off() -> None:
    """Not only those of the token endpoint."""
    assert pauses(NexudusAuthError("a source of their own"), 2, served=False) == [0.5, 1]
