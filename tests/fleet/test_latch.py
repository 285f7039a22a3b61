"""Refused credentials rest, and none for good: a day alone, in a fleet, and through restarts. In virtual time."""

import asyncio

import pytest

from nexudus_async import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    Freshness,
    NexudusAuthError,
    PasswordResetRequiredError,
    TokenManager,
    TotpRequiredError,
)

from .virtual import PASSWORD, World, call, play, spawn

HOUR, DAY = 3600.0, 86400.0
A_DAY = 3 + 23
"""Refusals in a day: after a minute, five minutes, and then one an hour."""
SHARED = pytest.mark.parametrize("shared", [False, True], ids=["alone", "with a store"])


@SHARED
def test_a_wrong_password_is_sent_once_an_hour(shared: bool) -> None:
    """Whoever asks how often."""

    async def scene(world: World) -> None:
        caller = await call(world, world.pod("wrong", shared=shared), DAY, every=30)
        assert not caller.served

    assert A_DAY - 1 <= len(play(scene, lifetime=3600).endpoint.log) <= A_DAY + 1


def test_a_fleet_sends_a_wrong_password_as_seldom_as_one_process() -> None:
    """Ten processes: the latch is in the record. Each that was started later may try once, if no other has."""

    async def scene(world: World) -> None:
        await asyncio.gather(*spawn(*(call(world, world.pod("wrong"), DAY, every=120) for _ in range(10))))

    assert len(play(scene, lifetime=3600).endpoint.log) <= A_DAY + 2


def test_a_crash_loop_tries_at_most_twice_per_latch() -> None:
    """A process that starts anew every minute: one probe of each latch's own, and one of a restart."""

    async def scene(world: World) -> None:
        while world.now() < DAY:
            pod = world.pod("wrong")
            with pytest.raises(CredentialsRejectedError):
                await pod.token()
            await pod.close()
            world.pods.clear()
            await asyncio.sleep(60)

    assert len(play(scene, lifetime=3600).endpoint.log) <= 2 * A_DAY


def test_a_restart_may_probe_once() -> None:
    """What was wrong may have been set right meanwhile; then it is not made to wait for an hour."""

    async def scene(world: World) -> None:
        world.endpoint.password = "suspended"
        pod = world.pod()
        await call(world, pod, 1000, every=5)
        await pod.close()
        assert len(world.endpoint.log) == 3
        with pytest.raises(CredentialsRejectedError):
            await world.pod().token()
        with pytest.raises(CredentialsRejectedError, match="rest for another"):
            await world.pod().token()
        assert len(world.endpoint.log) == 4
        world.endpoint.password = PASSWORD
        with pytest.raises(CredentialsRejectedError):
            await world.pod().token()
        await world.until(1000 + HOUR + 10)
        assert await world.pod().token()

    play(scene, lifetime=3600)


@SHARED
@pytest.mark.parametrize("after", [100.0, 2000.0, 20_000.0, 70_000.0])
def test_a_suspension_that_is_lifted_is_over_within_the_hour(shared: bool, after: float) -> None:
    """The password was right throughout, and nobody touches the process."""

    async def scene(world: World) -> None:
        world.endpoint.password = "suspended"
        pod = world.pod(shared=shared)
        calls = asyncio.create_task(call(world, pod, after + HOUR + 60, every=20))
        await world.until(after)
        world.endpoint.password = PASSWORD
        caller = await calls
        assert caller.served
        assert caller.served[0] <= after + HOUR + 30
        assert len(world.endpoint.log) <= 4 + after / HOUR

    play(scene, lifetime=DAY)


@SHARED
def test_a_password_corrected_in_a_vault_is_found_at_the_next_look(shared: bool) -> None:
    """The vault is asked twice per latch at the most, however many call."""
    asked = 0

    async def scene(world: World) -> None:
        def vault() -> str:
            nonlocal asked
            asked += 1
            return "wrong" if world.now() < 5000 else PASSWORD

        pod = world.pod(vault, shared=shared)
        callers = await asyncio.gather(*spawn(*(call(world, pod, 9000, every=5) for _ in range(5))))
        assert all(caller.served and caller.served[0] <= 5000 + HOUR for caller in callers)

    world = play(scene, lifetime=DAY)
    assert asked <= 2 * len(world.endpoint.log) + 2


def test_a_vault_that_is_corrected_at_once_costs_no_wait() -> None:
    """The first look of a latch sees it."""

    async def scene(world: World) -> None:
        passwords = iter(["wrong", PASSWORD, PASSWORD])
        pod = world.pod(lambda: next(passwords), shared=False)
        with pytest.raises(CredentialsRejectedError):
            await pod.token()
        assert await pod.token()
        assert world.now() < 1

    play(scene, lifetime=DAY)


@SHARED
def test_a_vault_in_trouble_has_no_other_password(shared: bool) -> None:
    """Nothing is known of a change: callers are told of the password as before, and the latch holds."""

    async def scene(world: World) -> None:
        passwords = iter(["wrong"])
        pod = world.pod(lambda: next(passwords), shared=shared)
        for _ in range(3):
            with pytest.raises(CredentialsRejectedError):
                await pod.token()
            await asyncio.sleep(1)
        assert (pod.statistics().failures, len(world.endpoint.log)) == (1, 1)
        assert pod.statistics().retry_in > 50

    play(scene, lifetime=DAY)


class Codes:
    """A one-time code by a host's clock, which may be off; Nexudus accepts each once, and two minutes old."""

    def __init__(self, world: World) -> None:
        self.world, self.off, self.last = world, 0.0, -1
        world.endpoint.checks = self.check

    def code(self) -> str:
        return str(int((self.world.now() + self.off) // 30))

    def check(self, form: dict[str, str]) -> str | None:
        step, now = int(form.get("totp", "-9")), int(self.world.now() // 30)
        if step > self.last and now - 1 <= step <= now:
            self.last = step
            return None
        return "two_factor_auth_check"


@SHARED
@pytest.mark.parametrize("off", [-7200.0, 7200.0])
@pytest.mark.parametrize("after", [60.0, 20_000.0])
def test_a_code_by_a_clock_that_was_off_works_within_the_hour_after_it_is_set(
    shared: bool, off: float, after: float
) -> None:
    """And meanwhile a few codes an hour are tried, not two a minute."""

    async def scene(world: World) -> None:
        codes = Codes(world)
        codes.off = off
        pod = world.pod(totp=codes.code, shared=shared)
        calls = asyncio.create_task(call(world, pod, after + HOUR + 120, every=20))
        await world.until(after)
        codes.off = 0.0
        caller = await calls
        assert caller.served
        assert caller.served[0] <= after + HOUR + 90
        assert len(world.endpoint.log) <= 14 + 2 * after / HOUR

    play(scene, lifetime=DAY)


def test_a_code_that_was_used_by_a_neighbour_costs_one_step() -> None:
    """Its next one works, in the same flight: nobody sees a failure."""

    async def scene(world: World) -> None:
        codes = Codes(world)
        one, two = (world.pod(totp=codes.code, shared=False) for _ in range(2))
        await one.token()
        assert await two.token()
        assert world.now() <= 31
        assert two.statistics().failures == 0

    play(scene, lifetime=DAY)


def test_without_the_store_too_a_second_code_is_tried() -> None:
    """A sign-in apart is a sign-in."""

    async def scene(world: World) -> None:
        codes = Codes(world)
        world.store.down = True
        one, two = (world.pod(totp=codes.code) for _ in range(2))
        await one.token()
        assert await two.token()

    play(scene, lifetime=DAY)


@SHARED
@pytest.mark.parametrize("status", [503, 500, 409])
def test_a_manual_refresh_that_meets_an_outage_shortens_no_latch(shared: bool, status: int) -> None:
    """Nor does it lengthen it by more than its own pause."""

    async def scene(world: World) -> None:
        world.endpoint.password = "another"
        pod = world.pod(shared=shared)
        for _ in range(2):
            with pytest.raises(CredentialsRejectedError):
                await pod.token()
            await asyncio.sleep(61)
        before = len(world.endpoint.log)
        world.endpoint.fault = lambda _grant: status
        with pytest.raises(EndpointUnavailableError):
            await pod.refresh()
        world.endpoint.fault = lambda _grant: None
        after = len(world.endpoint.log)
        assert after > before
        await call(world, pod, world.now() + 225, every=0.5)
        assert len(world.endpoint.log) == after, "five minutes are not over"
        with pytest.raises(CredentialsRejectedError):
            await pod.token()
        await call(world, pod, world.now() + 60, every=0.5)
        assert len(world.endpoint.log) == after + 1

    play(scene, lifetime=3600)


@SHARED
def test_a_refresh_by_hand_gets_through_a_latch(shared: bool) -> None:
    """And ends it, when the credentials are good again."""

    async def scene(world: World) -> None:
        world.endpoint.password = "another"
        pod = world.pod(shared=shared)
        await call(world, pod, 1000, every=5)
        world.endpoint.password = PASSWORD
        with pytest.raises(CredentialsRejectedError):
            await pod.token()
        assert await pod.refresh()
        assert await pod.token()
        assert pod.freshness is Freshness.FRESH
        assert pod.statistics().retry_in == 0

    play(scene, lifetime=3600)


@SHARED
def test_the_latch_of_a_password_to_be_reset_ends_too(shared: bool) -> None:
    """Somebody resets it to what it was."""

    async def scene(world: World) -> None:
        world.endpoint.checks = lambda _form: "must_reset_password" if world.now() < 4000 else None
        pod = world.pod(shared=shared)
        with pytest.raises(PasswordResetRequiredError):
            await pod.token()
        caller = await call(world, pod, 4000 + HOUR + 60, every=5)
        assert caller.served
        assert len(world.endpoint.log) <= 6

    play(scene, lifetime=DAY)


@SHARED
def test_a_latched_process_serves_the_token_that_it_has(shared: bool) -> None:
    """Everything but the access token is dead."""

    async def scene(world: World) -> None:
        pod = world.pod(shared=shared)
        await pod.token()
        world.endpoint.revoke(access=False)
        world.endpoint.password = "another"
        caller = await call(world, pod, HOUR, every=10)
        assert not caller.failed
        assert world.endpoint.count("refresh_token") == 1
        assert world.endpoint.count("password") <= 4
        with pytest.raises(CredentialsRejectedError):
            await pod.token()

    play(scene, lifetime=HOUR)


def test_a_typed_code_is_used_once_and_then_a_person_is_asked_for() -> None:
    """Without a request, for as long as it takes."""

    async def scene(world: World) -> None:
        codes = Codes(world)
        pod: TokenManager = world.pod(totp=codes.code(), shared=False)
        await pod.token()
        world.endpoint.revoke()
        await world.until(HOUR + 1)
        with pytest.raises(TotpRequiredError):
            await pod.token()
        sent = len(world.endpoint.log)
        for _ in range(100):
            with pytest.raises(NexudusAuthError):
                await pod.refresh()
            await asyncio.sleep(60)
        assert len(world.endpoint.log) == sent

    play(scene, lifetime=HOUR)
