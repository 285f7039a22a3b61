"""What a record says of a failure: how long it holds a fleet off, what callers are told, and what follows it."""

import math
from typing import Any

import aiohttp
import pytest

from nexudus_async import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    MalformedResponseError,
    NexudusAuthError,
    PasswordCredentials,
    PasswordResetRequiredError,
    RefreshPolicy,
    TokenEndpoint,
    TokenEndpointError,
    TotpRequiredError,
    WrongHostError,
)
from nexudus_async._fleet.pauses import Pauses
from nexudus_async._refresh.policy import LONGEST_LATCH, LONGEST_PAUSE
from nexudus_async._refresh.renewal import Asking, HeldOffError
from nexudus_async.stores._record import MAX_TEXT, Latch, Pause, Record
from nexudus_async.testing import ManualClock

UNAVAILABLE = "EndpointUnavailableError"
REFUSED = CredentialsRejectedError("refused", error="invalid_grant")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the slow hash of a password be a fast one."""
    monkeypatch.setattr("nexudus_async._oauth.rejected_password.COST", 2)


def no_session() -> aiohttp.ClientSession:
    raise AssertionError("nothing is sent")


def asking_with(password: str, clock: ManualClock) -> Asking:
    credentials = PasswordCredentials("ops@example.com", password)
    return Asking(TokenEndpoint(no_session, "https://spaces.nexudus.com", credentials), RefreshPolicy(), clock)


def pauses_of(clock: ManualClock, password: str = "right") -> Pauses:
    """Return those of a process that starts now."""
    return Pauses(asking_with(password, clock), clock, lambda: 0.0)


def paused(clock: ManualClock, left: float, *, kind: str = UNAVAILABLE, error: str = "503", **fields: Any) -> Record:
    """Return a record with a pause that lasts for another `left` seconds."""
    return Record(1, pause=Pause(1, clock.wall() + left, fields.get("served", False), kind, error))


def latched(clock: ManualClock, left: float, **fields: Any) -> Record:
    """Return a record with a latch that lasts for another `left` seconds, made now unless `since` says otherwise."""
    fields = {"error": "CredentialsRejectedError", "since": clock.wall(), **fields}
    return Record(1, latch=Latch(1, clock.wall() + left, **fields))


def held(pauses: Pauses, record: Record, known: Record, **options: Any) -> HeldOffError | None:
    """Return what holds this process off, None for nothing."""
    try:
        pauses.check(record, known, options.get("own"), served=options.get("served", False))
    except HeldOffError as exc:
        return exc
    return None


async def rests(pauses: Pauses, record: Record, after: TokenEndpointError | None = None) -> HeldOffError | None:
    """Return what lets the credentials rest, None for nothing."""
    try:
        await pauses.respect_latch(record, after)
    except HeldOffError as exc:
        return exc
    return None


@pytest.mark.parametrize(
    ("left", "holds"),
    [
        (-1.0, False), (0.0, False), (0.5, True), (1.5, True), (LONGEST_PAUSE, True), (LONGEST_PAUSE + 1, False),
        (math.inf, False),
    ],
)  # fmt: skip
def test_a_pause_holds_until_its_end(clock: ManualClock, left: float, holds: bool) -> None:
    """And not at all where none could be as long."""
    record = paused(clock, left)
    found = held(pauses_of(clock), record, record)
    assert (found is not None) == holds
    if found is not None:
        assert (found.seconds, str(found.error)) == (left, "in this or another process: 503")


@pytest.mark.parametrize(("of_served", "served", "holds"), [(True, True, True), (True, False, False),
                                                            (False, True, True), (False, False, True)])  # fmt: skip
def test_a_pause_of_a_good_token_ends_with_it(clock: ManualClock, of_served: bool, served: bool, holds: bool) -> None:
    """Callers do not fail for minutes because nobody noticed the failure before."""
    record = paused(clock, 60, served=of_served)
    assert (held(pauses_of(clock), record, record, served=served) is not None) == holds


@pytest.mark.parametrize("left", [-5.0, 0.0, 0.25])
def test_who_waited_while_another_process_tried_shares_its_failure(clock: ManualClock, left: float) -> None:
    """Also where its pause is over already: the failure was not there at the first look."""
    found = held(pauses_of(clock), paused(clock, left), paused(clock, left - 60))
    assert found is not None
    assert found.seconds == left


def test_without_a_pause_nothing_holds(clock: ManualClock) -> None:
    """Not even where there was one at the first look, or no record is left: another process has succeeded."""
    pauses, before = pauses_of(clock), paused(clock, 60)
    assert held(pauses, Record(2), before) is None
    pauses.check(None, before, None, served=False)


LONG = "x" * (MAX_TEXT + 10)


@pytest.mark.parametrize(
    ("own", "noted", "is_own"),
    [
        (EndpointUnavailableError("503"), "503", True),
        (MalformedResponseError(LONG), LONG[:MAX_TEXT], True),
        (EndpointUnavailableError("502"), "503", False),
        (None, "503", False),
        (None, "None", False),
    ],
)
def test_a_failure_of_ones_own_keeps_its_cause(
    clock: ManualClock, own: NexudusAuthError | None, noted: str, is_own: bool
) -> None:
    """The text in the record says whether it is that; another is told as what it is, one of some process."""
    record = paused(clock, 60, error=noted)
    found = held(pauses_of(clock), record, record, own=own)
    assert found is not None
    assert (found.error is own) == is_own
    if not is_own:
        assert (type(found.error), str(found.error)) == (
            EndpointUnavailableError, f"in this or another process: {noted}"
        )  # fmt: skip


@pytest.mark.parametrize("kind", [EndpointUnavailableError, MalformedResponseError, WrongHostError, TokenEndpointError])
async def test_a_failure_is_of_the_same_kind_in_every_process(
    clock: ManualClock, kind: type[TokenEndpointError]
) -> None:
    """What one has noted the next one raises."""
    noted = await after(pauses_of(clock), Record(1), kind("no token"))
    error = pauses_of(clock).error_of(noted, None)
    assert (type(error), str(error)) == (kind, "in this or another process: no token")


def test_a_failure_of_a_kind_that_a_later_release_has_is_an_unavailable_endpoint(clock: ManualClock) -> None:
    """Which is tried again."""
    error = pauses_of(clock).error_of(paused(clock, 60, kind="SunspotsError"), None)
    assert type(error) is EndpointUnavailableError


async def after(
    pauses: Pauses, record: Record, error: Exception, *, signing_in: bool = False, served: bool = False,
    at_most: float = math.inf,
) -> Record:  # fmt: skip
    return await pauses.after(record, error, signing_in=signing_in, served=served, at_most=at_most)


@pytest.mark.parametrize(
    ("served", "retry_after", "at_most", "pauses"),
    [
        (False, None, math.inf, [0.5, 1.0, 2.0]),
        (False, 7.0, math.inf, [7.0, 7.0, 7.0]),
        (True, None, math.inf, [30.0, 60.0, 120.0, 300.0, 300.0]),
        (True, None, 45.0, [30.0, 45.0, 45.0]),
        (True, 90.0, 45.0, [90.0, 90.0]),
    ],
)
async def test_the_pauses_of_a_fleet_are_those_of_one_process(
    clock: ManualClock, served: bool, retry_after: float | None, at_most: float, pauses: list[float]
) -> None:
    """They grow with each failure in a row, whoever has it, and are what the service asks for where that is more."""
    record, found = Record(1), list[float]()
    for _ in pauses:
        error = EndpointUnavailableError("503", retry_after=retry_after)
        record = await after(pauses_of(clock), record, error, served=served, at_most=at_most)
        assert record.pause is not None
        assert record.pause.served is served
        found.append(record.pause.until - clock.wall())
    assert found == pytest.approx(pauses)
    assert record.pause is not None
    assert record.pause.failures == len(pauses)


async def test_a_pause_without_a_token_is_another_than_that_of_a_good_one(clock: ManualClock) -> None:
    """It begins with the first step: callers fail meanwhile."""
    record = Record(1)
    for _ in range(4):
        record = await after(pauses_of(clock), record, EndpointUnavailableError("503"), served=True)
    record = await after(pauses_of(clock), record, EndpointUnavailableError("503"))
    assert record.pause is not None
    assert record.pause.failures == 1
    assert record.pause.until - clock.wall() == pytest.approx(0.5)


async def test_a_refusal_without_a_reason_rests_ever_longer(clock: ManualClock) -> None:
    """It may be the credentials. The failures of an outage before it do not count."""
    unexplained, record = MalformedResponseError("403, and HTML", status=403), Record(1)
    for _ in range(5):
        record = await after(pauses_of(clock), record, EndpointUnavailableError("503"))
    found = list[float]()
    for _ in range(8):
        record = await after(pauses_of(clock), record, unexplained)
        assert record.pause is not None
        found.append(record.pause.until - clock.wall())
    assert found == pytest.approx([0.5, 1.0, 2.0, 30.0, 60.0, 120.0, 300.0, 300.0])


async def test_an_outage_after_a_refusal_without_a_reason_goes_on_counting(clock: ManualClock) -> None:
    """Whatever else fails is a failure in a row."""
    record = await after(pauses_of(clock), Record(1), MalformedResponseError("403, and HTML", status=403))
    record = await after(pauses_of(clock), record, EndpointUnavailableError("503"))
    assert record.pause is not None
    assert record.pause.failures == 2
    assert record.pause.until - clock.wall() == pytest.approx(1.0)


@pytest.mark.parametrize("kind", [CredentialsRejectedError, TotpRequiredError, PasswordResetRequiredError])
async def test_a_refresh_that_is_refused_is_neither_a_pause_nor_a_latch(
    clock: ManualClock, kind: type[TokenEndpointError]
) -> None:
    """It says nothing of the credentials."""
    before = paused(clock, 60)
    assert await after(pauses_of(clock), before, kind("refused")) == before


async def test_refusals_rest_a_minute_five_minutes_and_an_hour(clock: ManualClock) -> None:
    """Each counts the one before it, whichever process had that."""
    record, found = Record(1), list[float]()
    for _ in range(4):
        record = await after(pauses_of(clock), record, REFUSED, signing_in=True)
        assert record.latch is not None
        found.append(record.latch.until - clock.wall())
    assert found == pytest.approx([60.0, 300.0, 3600.0, 3600.0])
    assert record.pause is None


@pytest.mark.parametrize(("kind", "seconds"), [(TotpRequiredError, 12.0), (CredentialsRejectedError, 60.0)])
async def test_a_refused_code_rests_until_the_next_one(
    clock: ManualClock, kind: type[TokenEndpointError], seconds: float
) -> None:
    """Which is another; a password is not, whatever the answer asks for."""
    record = await after(pauses_of(clock), Record(1), kind("refused", retry_after=12.0), signing_in=True)
    assert record.latch is not None
    assert record.latch.until - clock.wall() == pytest.approx(seconds, abs=1)


@pytest.mark.parametrize("kind", [CredentialsRejectedError, TotpRequiredError, PasswordResetRequiredError])
async def test_a_refusal_is_of_the_same_kind_in_every_process(
    clock: ManualClock, kind: type[TokenEndpointError]
) -> None:
    """A person is told to give a code, or to reset the password, not to correct it."""
    record = await after(pauses_of(clock), Record(1), kind("refused"), signing_in=True)
    found = await rests(pauses_of(clock), record)
    assert found is not None
    assert type(found.error) is kind


async def test_a_refusal_of_a_kind_that_a_later_release_has_is_one_of_the_credentials(clock: ManualClock) -> None:
    """They are not sent."""
    found = await rests(pauses_of(clock), latched(clock, 60, error="MoodError"))
    assert found is not None
    assert type(found.error) is CredentialsRejectedError


@pytest.mark.parametrize(
    ("left", "holds"), [(-1.0, False), (0.0, False), (0.5, True), (LONGEST_LATCH, True), (LONGEST_LATCH + 1, False)]
)
async def test_a_latch_holds_until_its_end(clock: ManualClock, left: float, holds: bool) -> None:
    """And not at all where none could be as long."""
    found = await rests(pauses_of(clock), latched(clock, left))
    assert (found is not None) == holds
    if found is not None:
        assert found.seconds == left
        assert f"rest for another {left:.0f} s" in str(found.error)


async def test_what_rests_names_the_refusal_that_it_follows(clock: ManualClock) -> None:
    """Of the refresh token, without which nobody would sign in."""
    spent = TokenEndpointError("used already", error="invalid_grant")
    found = await rests(pauses_of(clock), latched(clock, 60), spent)
    assert found is not None
    assert found.error.__cause__ is spent


@pytest.mark.parametrize(("password", "holds"), [("wrong", True), ("right", False)])
async def test_a_latch_is_for_the_password_that_was_refused(clock: ManualClock, password: str, holds: bool) -> None:
    """As far as a short hash can tell; another one is sent at once."""
    record = latched(clock, 60, fingerprint=await asking_with("wrong", clock).fingerprint("any other"))
    assert (await rests(pauses_of(clock, password), record) is not None) == holds


@pytest.mark.parametrize(
    ("fields", "holds"),
    [({}, False), ({"probed": True}, True), ({"since": 0.0}, True)],
    ids=["the first", "another one has", "of a release that did not say when"],
)
async def test_who_was_started_after_a_refusal_may_try_once(
    clock: ManualClock, fields: dict[str, Any], holds: bool
) -> None:
    """What was wrong may have been set right for the restart."""
    record = latched(clock, 60, **fields)
    running = pauses_of(clock)
    clock.advance(1)
    restarted = pauses_of(clock)
    assert await rests(running, record) is not None
    assert (await rests(restarted, record) is not None) == holds


@pytest.mark.parametrize(("age", "probed"), [(59.0, True), (60.0, False), (61.0, False)])
async def test_a_try_of_a_restart_is_noted(clock: ManualClock, age: float, probed: bool) -> None:
    """Within the latch; once that is over, anybody's try is the one that was due."""
    record = latched(clock, 60)
    clock.advance(1)
    restarted = pauses_of(clock)
    clock.advance(age - 1)
    left = await after(restarted, record, REFUSED, signing_in=True)
    assert left.latch is not None
    assert left.latch.probed is probed


async def test_who_was_refused_itself_is_no_restart(clock: ManualClock) -> None:
    """However early another host's clock says that the latest refusal was."""
    record = latched(clock, 60)
    clock.advance(1)
    pauses = pauses_of(clock)
    assert await rests(pauses, record) is None
    await after(pauses, Record(1), REFUSED, signing_in=True)
    assert await rests(pauses, record) is not None
