"""What a caller gets in each state of the token, with the endpoint quick, slow and dead."""

import asyncio

import pytest

from nexudus_async import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    Freshness,
    PasswordCredentials,
    RefreshFailed,
    RefreshPolicy,
    TokenEndpointError,
    TokenObtained,
    TotpRequiredError,
)
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until
from tests.inside import take_jitter_from

NO_JITTER = RefreshPolicy(jitter=0)


async def test_states_follow_the_clock(connect: Connect, clock: ManualClock) -> None:
    """An hour's token is refreshed from 45 minutes on (15 minutes before), and must be from 59 minutes on."""
    session = await connect(policy=NO_JITTER)
    assert session.freshness is Freshness.EMPTY
    await session.token()
    for step, state in [
        (2699, Freshness.FRESH),
        (1, Freshness.ADVISORY),
        (839, Freshness.ADVISORY),
        (1, Freshness.MANDATORY),
        (59, Freshness.MANDATORY),
        (1, Freshness.EXPIRED),
    ]:
        clock.advance(step)
        assert session.freshness is state
    await session.close()
    assert session.freshness is Freshness.CLOSED  # type: ignore[comparison-overlap]


async def test_in_the_advisory_window_nobody_waits_for_a_slow_endpoint(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Requests are served with the token they have while the refresh hangs, and one refresh is made."""
    session = await connect()
    old = await session.token()
    clock.advance(3000)
    with emulator.hold("token") as hold:
        for _ in range(50):
            async with session.get(CUSTOMER) as response:
                assert response.status == 200
        assert (await session.token()) is old
        assert hold.count == 1
    await until(lambda: session.freshness is Freshness.FRESH)
    assert (await session.token()).generation == old.generation + 1
    assert len(emulator.token_requests) == 2


async def test_with_the_endpoint_dead_no_request_fails_while_the_token_lives(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Through the advisory and the mandatory window every request succeeds; the attempts are few."""
    session = await connect()
    await session.token()
    clock.advance(2600)
    clock.autojump = True
    emulator.fail("token", Fault.answer(503), times=None)
    for _ in range(99):
        clock.advance(10)
        async with session.get(CUSTOMER) as response:
            assert response.status == 200
        await until(lambda: not session.statistics().waiting and "refreshing" not in repr(session))
    attempts = len(emulator.token_requests) - 1
    assert 3 <= attempts <= 6
    clock.advance(10)
    with pytest.raises(EndpointUnavailableError):
        await session.token()


async def test_in_the_mandatory_window_a_caller_waits_for_the_refresh(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Close to the end it is worth waiting for the new token."""
    session = await connect(policy=NO_JITTER)
    old = await session.token()
    clock.advance(3550)
    assert (await session.token()).generation == old.generation + 1


async def test_in_the_mandatory_window_a_hanging_endpoint_costs_the_wait_and_no_more(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """After `mandatory_wait` the token that is still good is served."""
    session = await connect(policy=RefreshPolicy(jitter=0, mandatory_wait=0.01))
    old = await session.token()
    clock.advance(3550)
    with emulator.hold("token"):
        assert (await session.token()) is old


async def test_in_the_mandatory_window_a_back_off_costs_no_wait(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """The next attempt is not due yet: the token is served at once, also while somebody tries by hand."""
    session = await connect(policy=RefreshPolicy(jitter=0, mandatory_wait=60, flight_deadline=90))
    old = await session.token()
    clock.advance(3550)
    emulator.fail("token", Fault.answer(500))
    assert await session.token() is old
    assert session.statistics().retry_in > 0
    with emulator.hold("token") as hold:
        by_hand = asyncio.create_task(session.refresh())
        await hold.wait()
        async with asyncio.timeout(5):
            assert await session.token() is old
    assert (await by_hand).generation == old.generation + 1


async def test_an_expired_token_is_never_served(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """With the token ended and the endpoint dead, the failure is raised."""
    session = await connect()
    await session.token()
    clock.advance(3600)
    clock.autojump = True
    emulator.fail("token", Fault.dropped(), times=None)
    with pytest.raises(EndpointUnavailableError):
        await session.token()
    assert session.manager.current() is None


async def test_a_token_that_arrives_expired_is_refreshed_in_the_same_flight(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Lifetime counts from the sending, and the host may sleep; the refresh token that came along is good."""
    session = await connect()
    emulator.lifetime = 5
    with emulator.hold("token") as hold:
        waiter = asyncio.create_task(session.token())
        await hold.wait()
        clock.advance(6)
    assert await waiter
    assert (emulator.sign_ins, emulator.renewals, session.statistics().failures) == (1, 1, 0)


async def test_lifetime_counts_from_the_sending(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """An answer that took ten seconds has ten seconds less to live."""
    session = await connect()
    with emulator.hold("token") as hold:
        waiter = asyncio.create_task(session.token())
        await hold.wait()
        clock.advance(10)
    await waiter
    expires_in = session.statistics().expires_in
    assert expires_in is not None
    assert expires_in == pytest.approx(3590)


@pytest.mark.parametrize("start", [0.1, 1_767_225_600.123456])
async def test_boundaries_are_exact_whatever_the_wall_clock_reads(connect: Connect, start: float) -> None:
    """The token's datetime rounds to microseconds; the schedule does not."""
    clock = ManualClock(start_wall=start)
    session = await connect(policy=NO_JITTER, clock=clock)
    await session.token()
    clock.advance(2700)
    assert session.freshness is Freshness.ADVISORY


async def test_a_suspended_host_sees_its_token_expire(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Monotonic time stands still in a suspend; the wall clock says how much is gone."""
    session = await connect()
    await session.token()
    clock.suspend(3600)
    assert session.freshness is Freshness.EXPIRED
    async with session.get(CUSTOMER) as response:
        assert response.status == 200


async def test_a_wall_clock_stepped_back_does_not_lengthen_a_life(connect: Connect, clock: ManualClock) -> None:
    """Elapsed is the larger of the two readings."""
    session = await connect()
    await session.token()
    clock.step_wall(-7200)
    clock.advance(3600)
    assert session.freshness is Freshness.EXPIRED


async def test_a_dead_refresh_token_leads_to_one_sign_in_in_the_same_flight(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """The caller sees nothing of it; the listener hears of the one failure, and that nothing has to wait for it."""
    session = await connect()
    await session.token()
    emulator.revoke_refresh_tokens()
    clock.advance(3600)
    tokens = await asyncio.gather(*(session.token() for _ in range(10)))
    assert len({token.access_token for token in tokens}) == 1
    assert (emulator.sign_ins, emulator.renewals_refused) == (2, 1)
    (failed,) = [event for event in connect.events if isinstance(event, RefreshFailed)]
    assert (failed.reason, failed.failures, failed.retry_in, failed.served) == ("expired", 1, 0.0, False)


@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
async def test_after_a_lost_answer_one_replay_and_then_a_sign_in(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, applied: bool
) -> None:
    """In one flight, be the connection dropped before or after the service has used the refresh token."""
    session = await connect()
    await session.token()
    emulator.fail("token", Fault.dropped(applied=applied), times=2)
    clock.advance(3600)
    clock.autojump = True
    assert (await session.token()).generation == 2
    grants = [record.form["grant_type"] for record in emulator.token_requests]
    assert grants == ["password", "refresh_token", "refresh_token", "password"]


async def test_back_off_grows_is_shared_and_ends_with_success(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """30, 60, 120 s and up to a quarter more between attempts while a token is served; one event for each."""
    session = await connect(policy=RefreshPolicy(advisory_window=1800, jitter=0))
    await session.token()
    clock.advance(1800)
    emulator.fail("token", Fault.answer(500), times=3)
    for failures, least in [(1, 30), (2, 60), (3, 120)]:
        await asyncio.gather(*(session.token() for _ in range(50)))
        await until(lambda: session.statistics().failures == failures)  # noqa: B023 - awaited at once
        retry_in = session.statistics().retry_in
        assert least <= retry_in <= least * 1.25
        clock.advance(retry_in - 0.5)
        await session.token()
        assert session.statistics().failures == failures
        clock.advance(0.5)
    await session.token()
    await until(lambda: session.freshness is Freshness.FRESH)
    assert session.statistics().retry_in == 0
    await asyncio.sleep(0)
    assert [type(event) for event in connect.events] == [TokenObtained, *[RefreshFailed] * 3, TokenObtained]
    emulator.fail("token", Fault.answer(500))
    clock.advance(1800)
    await session.token()
    await until(lambda: session.statistics().failures == 4)
    assert session.statistics().retry_in <= 30 * 1.25


async def test_back_off_never_outlives_the_token(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """A pause that was set while the token was served ends with it: then callers need one now."""
    session = await connect()
    await session.token()
    clock.advance(3590)
    emulator.fail("token", Fault.answer(500))
    await session.token()
    assert session.statistics().retry_in >= 30
    clock.advance(10)
    assert await session.token()
    assert len(emulator.token_requests) == 3


@pytest.mark.parametrize("status", [409, 429, 503])
async def test_back_off_is_never_shorter_than_retry_after(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, status: int
) -> None:
    """The service knows best when to come back; more than an hour is taken for an hour."""
    session = await connect(policy=RefreshPolicy(advisory_window=86_400, jitter=0))
    emulator.lifetime = 200_000
    await session.token()
    clock.advance(120_000)
    for asked, expected in [(900, 900), (999_999, 3600)]:
        emulator.fail("token", Fault.throttled(asked, status))
        await session.token()
        await until(lambda: session.statistics().retry_in >= expected)  # noqa: B023 - awaited at once
        assert session.statistics().retry_in <= expected
        clock.advance(expected)


async def test_with_nothing_to_serve_a_failure_is_shared_for_a_growing_while(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """0.5 s growing to 2, and to 5 after half a minute: a dead server is not asked by every coroutine, and no pause
    outlives the outage for long.
    """
    session = await connect()
    take_jitter_from(session)
    emulator.fail("token", Fault.json({"error": "unsupported_grant_type"}, 400), times=None)
    for requests, pause in enumerate([0.5, 1, *[2] * 20, 5, 5], start=1):
        await asyncio.gather(*(session.token() for _ in range(20)), return_exceptions=True)
        assert len(emulator.token_requests) == requests
        clock.advance(pause - 0.01)
        await asyncio.gather(session.token(), return_exceptions=True)
        assert len(emulator.token_requests) == requests
        clock.advance(0.02)


async def test_refresh_by_hand_gets_through_the_back_off(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """A person who asks is not told to wait."""
    session = await connect()
    emulator.fail("token", Fault.json({"error": "unsupported_grant_type"}, 400))
    with pytest.raises(Exception, match="unsupported_grant_type"):
        await session.token()
    assert await session.refresh()


async def test_in_a_back_off_nobody_waits_for_what_another_tries_by_hand(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """They are told at once what has failed, as those before them."""
    session = await connect()
    emulator.fail("token", Fault.json({"error": "unsupported_grant_type"}, 400))
    with pytest.raises(TokenEndpointError, match="unsupported_grant_type"):
        await session.token()
    with emulator.hold("token") as hold:
        by_hand = asyncio.create_task(session.refresh())
        await hold.wait()
        with pytest.raises(TokenEndpointError, match="unsupported_grant_type"):
            await asyncio.wait_for(session.token(), 5)
    assert await by_hand == await session.token()


async def test_wrong_credentials_are_latched(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """A minute, five minutes, then an hour each time: accounts are locked for insisting, and suspensions end."""
    session = await connect(PasswordCredentials(emulator.username, "wrong"))
    for requests, pause in [(1, 60), (2, 300), (3, 3600), (4, 3600)]:
        with pytest.raises(CredentialsRejectedError):
            await session.token()
        assert len(emulator.token_requests) == requests
        clock.advance(pause - 1)
        with pytest.raises(CredentialsRejectedError):
            await session.token()
        assert len(emulator.token_requests) == requests
        clock.advance(1)
    for _ in range(50):
        with pytest.raises(CredentialsRejectedError):
            await session.token()
        clock.advance(1)
    assert len(emulator.token_requests) == 5
    assert session.statistics().failures == 5
    assert len(connect.events) == 5, "what was not tried is not told again and again"
    with pytest.raises(CredentialsRejectedError):
        await session.refresh()
    assert len(emulator.token_requests) == len(connect.events) == 6


async def test_a_password_that_was_right_all_along_works_again(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """A suspension looks like a wrong password, and ends: within the hour, without anybody's doing."""
    session = await connect()
    emulator.user.suspended = True
    for pause in (60, 300, 3600):
        with pytest.raises(CredentialsRejectedError):
            await session.token()
        clock.advance(pause)
    emulator.user.suspended = False
    assert await session.token()


async def test_a_new_password_ends_the_latch_and_is_asked_for_once_per_period(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """A vault that gives another password is believed; it is not asked by every request."""
    asked = 0
    password = "wrong"

    def vault() -> str:
        nonlocal asked
        asked += 1
        return password

    session = await connect(PasswordCredentials(emulator.username, vault))
    for pause in (60, 300, 3600):
        with pytest.raises(CredentialsRejectedError):
            await session.token()
        clock.advance(pause)
    before = asked
    for _ in range(30):
        with pytest.raises(CredentialsRejectedError):
            await session.token()
        clock.advance(100)
    assert asked == before + 2, "one sign-in, and one look"
    clock.advance(601)
    with pytest.raises(CredentialsRejectedError):
        await session.token()
    password = emulator.password
    assert await session.token(), "at once"


async def test_a_latched_sign_in_does_not_take_the_living_token_away(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """The password was changed and the refresh token revoked, but the access token is good until its end."""
    session = await connect()
    await session.token()
    emulator.revoke_refresh_tokens()
    emulator.user.password = "changed"
    clock.advance(3000)
    for _ in range(5):
        async with session.get(CUSTOMER) as response:
            assert response.status == 200
        await until(lambda: session.statistics().failures == 1)
    assert len(emulator.token_requests) == 3


async def test_a_code_from_a_callable_that_came_too_late_is_tried_once_more_with_the_next(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """The code of this time step was used up by another sign-in; that of the next one works."""
    emulator.user.totp_secret = "JBSWY3DPEHPK3PXP"
    credentials = PasswordCredentials(emulator.username, emulator.password, emulator.totp_code)
    one, two = await connect(credentials), await connect(credentials)
    await one.token()
    waiter = asyncio.create_task(two.token())
    await clock.wait_for_sleepers()
    clock.advance(31)
    assert await waiter
    assert len(emulator.token_requests) == 3
    assert two.statistics().sign_ins == 1, "counted as any other"


async def test_a_code_given_as_text_is_sent_once(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """When the chain ends, a person is needed: the error says so, and nothing is sent."""
    emulator.user.totp_secret = "JBSWY3DPEHPK3PXP"
    session = await connect(PasswordCredentials(emulator.username, emulator.password, emulator.totp_code()))
    await session.token()
    emulator.revoke_refresh_tokens()
    clock.advance(3600)
    with pytest.raises(TotpRequiredError, match="used already"):
        await session.token()
    assert len(emulator.token_requests) == 2
