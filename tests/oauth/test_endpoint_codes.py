"""What a one-time code is good for."""

import asyncio

import pytest

from nexudus_async import NexudusAuthError, RefreshPolicy, TotpRequiredError, totp_from_secret
from nexudus_async._refresh.renewal import Asking
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator

from .conftest import MakeEndpoint

KEY = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


@pytest.mark.parametrize(
    ("fault", "requests"),
    [
        (Fault.dropped(applied=True), 1),
        (Fault.truncated(), 1),
        (Fault.answer(200, "{"), 1),
        (Fault.json({"error": "two_factor_auth_check"}, 400), 1),
        (Fault.json({"error": "invalid_grant"}, 400), 1),
    ],
)
async def test_a_code_given_as_text_is_used_once(
    make: MakeEndpoint, emulator: NexudusEmulator, fault: Fault, requests: int
) -> None:
    """After an answer, or a lost one, a person must give another: no request is made with the old one."""
    emulator.user.totp_secret = KEY
    endpoint = make(totp=emulator.totp_code())
    emulator.fail("token", fault)
    with pytest.raises(NexudusAuthError):
        await endpoint.login()
    for _ in range(2):
        with pytest.raises(TotpRequiredError, match="used already"):
            await endpoint.login()
    assert len(emulator.token_requests) == requests


async def test_a_code_given_as_text_is_used_up_by_success(make: MakeEndpoint, emulator: NexudusEmulator) -> None:
    """The next sign-in needs another."""
    emulator.user.totp_secret = KEY
    endpoint = make(totp=emulator.totp_code())
    await endpoint.login()
    with pytest.raises(TotpRequiredError, match="used already") as caught:
        await endpoint.login()
    assert caught.value.retry_after is None
    assert len(emulator.token_requests) == 1


@pytest.mark.parametrize("fault", [Fault.throttled(1), Fault.answer(503)])
async def test_a_code_that_was_not_looked_at_is_still_good(
    make: MakeEndpoint, emulator: NexudusEmulator, fault: Fault
) -> None:
    """Throttled, or answered by a broken service."""
    emulator.user.totp_secret = KEY
    emulator.fail("token", fault)
    await make(totp=emulator.totp_code()).login()
    assert [request.status for request in emulator.token_requests] == [fault.status, 200]


async def test_a_code_of_a_cancelled_sign_in_is_used(make: MakeEndpoint, emulator: NexudusEmulator) -> None:
    """Nobody can tell whether it arrived."""
    emulator.user.totp_secret = KEY
    endpoint = make(totp=emulator.totp_code())
    with emulator.hold("token") as hold:
        task = asyncio.create_task(endpoint.login())
        await hold.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(TotpRequiredError, match="used already"):
        await endpoint.login()


@pytest.mark.parametrize("into_the_step", [0.0, 0.1, 7.3, 29.999])
async def test_a_code_that_was_used_already_waits_for_the_next(
    make: MakeEndpoint, emulator: NexudusEmulator, clock: ManualClock, into_the_step: float
) -> None:
    """Two processes, one account, one code: the second signs in with the next step's code, and asks no third time."""
    emulator.user.totp_secret = KEY
    clock.advance(into_the_step)
    endpoint = make(totp=totp_from_secret(KEY, clock=clock))
    await endpoint.login()
    began = clock.wall()
    await Asking(endpoint, RefreshPolicy(), clock).sign_in(None, after=None, probing=False, by_hand=False)
    assert len(emulator.token_requests) == 3
    assert clock.wall() - began == pytest.approx(30.5 - into_the_step, abs=1e-3)


async def test_a_key_that_is_wrong_is_not_tried_for_ever(
    make: MakeEndpoint, emulator: NexudusEmulator, clock: ManualClock
) -> None:
    """One more sign-in with the next code, then the error."""
    emulator.user.totp_secret = KEY
    endpoint = make(totp=totp_from_secret(KEY[::-1], clock=clock))
    with pytest.raises(TotpRequiredError):
        await Asking(endpoint, RefreshPolicy(), clock).sign_in(None, after=None, probing=False, by_hand=False)
    assert len(emulator.token_requests) == 2
