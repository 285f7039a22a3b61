"""An operator's session signs a member in, as often as it is needed; whose failure it is stays plain to see."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

import pytest

from nexudus_async import (
    ConfigurationError,
    CredentialsRejectedError,
    EndpointUnavailableError,
    ImpersonationCredentials,
    MalformedResponseError,
    MemoryStore,
    NexudusAuthError,
    PasswordCredentials,
    SessionClosedError,
    TokenObtained,
    TokenSession,
    TotpRequiredError,
)
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator, User
from tests.conftest import CUSTOMER, Connect
from tests.inside import key_of
from tests.leaks import leaked

IMPERSONATE = "/api/sys/users/impersonate"
EXCHANGE = "/api/sys/users/exchange"
MemberOf = Callable[..., Awaitable[TokenSession]]


@pytest.fixture
def member(emulator: NexudusEmulator) -> User:
    """A member with two-factor on, whose password nobody here knows; the first user is an administrator."""
    emulator.user.admin = True
    return emulator.add_user("member@example.com", "theirs", totp_secret="JBSWY3DPEHPK3PXP")


@pytest.fixture
async def operator(connect: Connect) -> TokenSession:
    return await connect(label="front desk", on_event=None)


@pytest.fixture
def impersonate(connect: Connect, operator: TokenSession, member: User) -> MemberOf:
    """Return a function that makes the member's session."""

    async def impersonate(**options: Any) -> TokenSession:
        return await connect(ImpersonationCredentials(operator, coworker_id=member.coworker_id), **options)

    return impersonate


def paths(emulator: NexudusEmulator) -> list[str]:
    return [request.path for request in emulator.requests]


async def test_the_member_is_signed_in(
    emulator: NexudusEmulator, impersonate: MemberOf, member: User, connect: Connect, clock: ManualClock
) -> None:
    """The operator asks, the JWT is exchanged, the chain is the member's own and lives on its refresh token."""
    session = await impersonate()
    async with session.get(CUSTOMER) as response:
        assert (await response.json())["Id"] == member.coworker_id
    assert paths(emulator) == ["/api/token", IMPERSONATE, EXCHANGE, CUSTOMER]
    asked = emulator.requests[1]
    assert (asked.query["coworkerId"], asked.username) == (str(member.coworker_id), emulator.username)
    clock.advance(86_400)
    await session.token()
    assert paths(emulator)[4:] == ["/api/token"]
    assert emulator.requests[-1].client_id == "member@example.com"
    counted = session.statistics()
    assert (counted.sign_ins, counted.renewals) == (1, 1)
    assert [event.grant for event in connect.events if isinstance(event, TokenObtained)] == [
        "exchange",
        "refresh_token",
    ]


async def test_it_is_done_anew_when_the_chain_has_ended(
    emulator: NexudusEmulator, impersonate: MemberOf, clock: ManualClock
) -> None:
    """By itself, as often as that happens."""
    session = await impersonate()
    for exchanges in (1, 2, 3):
        await session.token()
        assert emulator.exchanges == exchanges
        emulator.revoke_all("member@example.com")
        clock.advance(86_400)
    assert emulator.sign_ins == 1


async def test_a_lost_answer_costs_another_jwt(
    emulator: NexudusEmulator, impersonate: MemberOf, clock: ManualClock
) -> None:
    """Each try has its own; none goes out twice."""
    clock.autojump = True
    emulator.fail(EXCHANGE, Fault.dropped(applied=True))
    emulator.fail(EXCHANGE, Fault.answer(503))
    await (await impersonate()).token()
    sent = [request.query["token"] for request in emulator.requests if request.path == EXCHANGE]
    assert (len(sent), len(set(sent))) == (3, 3)


async def test_an_operator_who_may_not_says_so(
    emulator: NexudusEmulator, impersonate: MemberOf, clock: ManualClock
) -> None:
    """401 and 403: it rests as refused credentials do, and does not ask again and again."""
    emulator.user.admin = False
    session = await impersonate()
    for _ in range(5):
        with pytest.raises(CredentialsRejectedError, match=r"operator front desk .* \(401\).* an administrator") as no:
            await session.token()
        assert (no.value.status, no.value.operator) == (401, None)
        clock.advance(1)
    assert paths(emulator).count(IMPERSONATE) == 2  # a 401 is refreshed and replayed once, by the operator's session
    emulator.user.admin = True
    clock.advance(60)
    await session.token()


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (Fault.answer(403), CredentialsRejectedError, "administrator"),
        (Fault.json({"Message": "?"}, 404), CredentialsRejectedError, "check coworker_id"),
        (Fault.answer(500), EndpointUnavailableError, "answered 500"),
        (Fault.throttled(99), EndpointUnavailableError, "answered 409"),
        (Fault.answer(204), MalformedResponseError, "has none"),
        (Fault.json({"token": "no JWT"}), MalformedResponseError, "has none"),
        (Fault.answer(302, headers={"Location": "/login"}), MalformedResponseError, r"\(302\) has none"),
        (Fault.html(), MalformedResponseError, "has none"),
    ],
)
async def test_other_answers_to_the_operator(
    emulator: NexudusEmulator, impersonate: MemberOf, fault: Fault, error: type[NexudusAuthError], says: str
) -> None:
    """Each names the operator, and nothing of the answer."""
    emulator.fail(IMPERSONATE, fault)
    session = await impersonate()
    with pytest.raises(error, match=f"operator front desk.*{says}"):
        await session.token()


@pytest.mark.parametrize(
    "body", ['{"Value": "%s"}', '{"jwt": "%s", "Id": 7}', '"%s"', "%s", "%s\n"], ids=lambda body: body.strip()
)
async def test_a_jwt_is_known_by_its_dots(
    emulator: NexudusEmulator, impersonate: MemberOf, member: User, body: str
) -> None:
    """Under which name it comes is not documented."""
    emulator.fail(IMPERSONATE, Fault.answer(200, body % emulator.one_time_jwt(member)))
    assert await (await impersonate()).token()


async def test_a_date_in_retry_after_is_counted_from_now(
    emulator: NexudusEmulator, impersonate: MemberOf, clock: ManualClock
) -> None:
    """By this host's clock, where the answer says nothing of its own."""
    later = formatdate(clock.wall() + 7, usegmt=True)
    emulator.fail(IMPERSONATE, Fault.answer(503, headers={"Retry-After": later, "Date": "unknown"}))
    with pytest.raises(EndpointUnavailableError) as caught:
        await (await impersonate()).token()
    assert caught.value.retry_after == 7


async def test_the_operators_failure_comes_out_as_it_is(
    emulator: NexudusEmulator, impersonate: MemberOf, clock: ManualClock
) -> None:
    """Its class, its attributes, the operator's name; it rests in the operator's session and not in the member's."""
    emulator.user.suspended = True
    session = await impersonate()
    with pytest.raises(CredentialsRejectedError, match=r"^the operator front desk: the sign-in was refused") as refused:
        await session.token()
    assert (refused.value.operator, refused.value.error) == ("front desk", "invalid_grant")
    for _ in range(5):
        clock.advance(5)
        with pytest.raises(CredentialsRejectedError):
            await session.token()
    assert emulator.sign_ins_refused == 1
    assert 0 < session.statistics().retry_in <= 5
    emulator.user.suspended = False
    clock.advance(60)
    await session.token()


async def test_an_operators_code_is_not_the_members(
    emulator: NexudusEmulator, connect: Connect, member: User, clock: ManualClock
) -> None:
    """Its session waits for the next one by itself."""
    clock.autojump = True
    emulator.user.totp_secret = "JBSWY3DPEHPK3PXP"
    credentials = PasswordCredentials(emulator.username, emulator.password, lambda: "000000")
    operator = await connect(credentials)
    session = await connect(ImpersonationCredentials(operator, coworker_id=member.coworker_id))
    with pytest.raises(TotpRequiredError):
        await session.token()
    assert emulator.sign_ins_refused == 2


async def test_an_operators_session_that_is_closed_or_out_of_reach(
    emulator: NexudusEmulator, impersonate: MemberOf, operator: TokenSession, clock: ManualClock
) -> None:
    """Named, too."""
    session = await impersonate()
    await operator.token()
    emulator.fail(IMPERSONATE, Fault.dropped(applied=False), times=None)
    with pytest.raises(EndpointUnavailableError, match="operator front desk could not ask"):
        await session.token()
    await operator.close()
    clock.advance(60)
    with pytest.raises(SessionClosedError, match="operator front desk"):
        await session.token()


async def test_a_fleet_shares_the_members_chain(
    emulator: NexudusEmulator, impersonate: MemberOf, member: User, clock: ManualClock
) -> None:
    """Filed under the number, or what `account=` says; an operator's refusal is no latch of the fleet."""
    store = MemoryStore()
    one, two = await impersonate(store=store), await impersonate(store=store)
    emulator.user.suspended = True
    for session in (one, two):
        with pytest.raises(NexudusAuthError, match="front desk"):
            await session.token()
    emulator.user.suspended = False
    clock.advance(61)
    assert (await one.token()).access_token == (await two.token()).access_token
    assert emulator.exchanges == 1
    named = await impersonate(store=store, account=member.username)
    assert key_of(named) != key_of(one)
    assert f"coworker {member.coworker_id}" in repr(one)


async def test_two_members_of_one_operator(
    emulator: NexudusEmulator, connect: Connect, operator: TokenSession, member: User
) -> None:
    """Each its own chain, one token of the operator."""
    other = emulator.add_user("other@example.com", "pw")
    sessions = [
        await connect(ImpersonationCredentials(operator, coworker_id=each.coworker_id)) for each in (member, other)
    ]
    tokens = await asyncio.gather(*(session.token() for session in sessions))
    assert [token.client_id for token in tokens] == [member.username, other.username]
    assert emulator.sign_ins == 1


async def test_no_jwt_is_shown(
    emulator: NexudusEmulator, impersonate: MemberOf, caplog: pytest.LogCaptureFixture, connect: Connect
) -> None:
    """Where the exchange fails after the operator has got one."""
    caplog.set_level(logging.DEBUG)
    emulator.fail(EXCHANGE, Fault.answer(401))
    session = await impersonate()
    with pytest.raises(CredentialsRejectedError) as refused:
        await session.token()
    (jwt,) = (request.query["token"] for request in emulator.requests if request.path == EXCHANGE)
    assert not leaked(refused.value, [jwt, jwt.rpartition(".")[2]])
    assert jwt not in caplog.text + repr(connect.events)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"session": None}, "operator's TokenSession"),
        ({"session": TokenSession}, "operator's TokenSession"),
        ({"coworker_id": "17"}, "coworker_id must be the number"),
        ({"coworker_id": True}, "coworker_id must be the number"),
        ({"coworker_id": 0}, "coworker_id must be the number"),
        ({"username": ""}, "username must be"),
    ],
)
async def test_arguments_that_cannot_work(options: dict[str, Any], says: str, operator: TokenSession) -> None:
    """At once."""
    arguments: dict[str, Any] = {"session": operator, "coworker_id": 17} | options
    with pytest.raises(ConfigurationError, match=says):
        ImpersonationCredentials(arguments.pop("session"), **arguments)
    with pytest.raises(ConfigurationError, match="client_id is chosen by the service"):
        TokenSession(ImpersonationCredentials(operator, coworker_id=17), client_id="worker-1")
