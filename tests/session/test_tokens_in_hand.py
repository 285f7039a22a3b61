"""Sessions from tokens in hand: used once, then the chain; with a store they seed it, once for all processes."""

import asyncio
import json
import pickle
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from nexudus_async import (
    ConfigurationError,
    EndpointUnavailableError,
    FileStore,
    Freshness,
    LoginRequiredError,
    MemoryStore,
    NexudusAuthError,
    PasswordCredentials,
    RefreshTokenCredentials,
    StoredToken,
    StoreError,
    Token,
    TokenAdopted,
    TokenEndpoint,
    TokenEndpointError,
    TokenObtained,
    TokenSession,
)
from nexudus_async._clock import SystemClock
from nexudus_async._refresh.tried import Tried
from nexudus_async.stores._record import Record, decode, encode
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect
from tests.inside import key_of
from tests.leaks import leaked

WORKER = "worker-1"


def in_hand(emulator: NexudusEmulator, *, lives: float = 0, **options: Any) -> RefreshTokenCredentials:
    """Return a hand-over from somebody who has just signed in; with an access token, if that is to live."""
    pair = emulator.issue(client_id=WORKER, lifetime=lives or 3600)
    tokens: dict[str, Any] = {"access_token": pair.access_token, "expires_in": lives} if lives else {}
    defaults: dict[str, Any] = {"client_id": WORKER, "username": emulator.username} | tokens
    return RefreshTokenCredentials(pair.refresh_token, **(defaults | options))


def refresh_tokens_sent(emulator: NexudusEmulator) -> list[str]:
    return [request.form["refresh_token"] for request in emulator.token_requests]


def end_of(chain: NexudusEmulator) -> None:
    """Let the service end the chain."""
    chain.revoke_all()


# -- in memory ------------------------------------------------------------------------------------------------------


async def test_nothing_is_sent_before_the_first_use_then_the_refresh_grant(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """With the `client_id` of the hand-over; counted as what it was."""
    session = await connect(in_hand(emulator))
    assert (emulator.requests, session.freshness) == ([], Freshness.EMPTY)
    token = await session.token()
    (request,) = emulator.requests
    assert (request.form["grant_type"], request.client_id) == ("refresh_token", WORKER)
    assert (token.client_id, token.lifetime) == (WORKER, 3600)
    counted = session.statistics()
    assert (counted.sign_ins, counted.renewals, counted.adoptions, counted.failures) == (0, 1, 0, 0)
    (event,) = connect.events
    assert isinstance(event, TokenObtained)
    assert event.grant == "refresh_token"


async def test_then_the_chain_lives_on(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """Each refresh token once, never the one that was handed over again, never a password."""
    session = await connect(in_hand(emulator))
    for _ in range(5):
        await session.token()
        clock.advance(3600)
    sent = refresh_tokens_sent(emulator)
    assert (len(sent), len(set(sent))) == (5, 5)
    assert (emulator.sign_ins, emulator.renewals_refused, emulator.refresh_tokens_reused) == (0, 0, 0)


async def test_a_living_access_token_needs_no_request(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """It is taken for what it is, until its refresh is due; nothing was granted."""
    session = await connect(in_hand(emulator, lives=600))
    token = await session.token()
    assert (emulator.requests, token.lifetime) == ([], 600)
    async with session.get(CUSTOMER) as response:
        assert response.status == 200
    counted = session.statistics()
    assert (counted.sign_ins, counted.renewals, counted.adoptions) == (0, 0, 1)
    (event,) = connect.events
    assert isinstance(event, TokenAdopted)
    assert event.expires_in == pytest.approx(600, abs=5)
    clock.advance(600)
    assert (await session.token()).access_token != token.access_token
    assert session.statistics().renewals == 1


async def test_an_access_token_ages_before_its_first_use(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Its seconds count from the hand-over."""
    session = await connect(in_hand(emulator, lives=600))
    clock.advance(200)
    await session.token()
    assert session.statistics().expires_in == pytest.approx(400, abs=5)
    late = await connect(in_hand(emulator, lives=600))
    clock.advance(600)
    await late.token()
    assert late.statistics().renewals == 1


async def test_an_access_token_without_a_life_counts_as_an_answer_without_one(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """An hour, the policy's default; and one with 0 or less seconds has ended."""
    session = await connect(in_hand(emulator, lives=600, expires_in=None))
    assert (await session.token()).lifetime == 3600
    ended = await connect(in_hand(emulator, lives=600, expires_in=-5))
    await ended.token()
    assert ended.statistics().renewals == 1


async def test_an_access_token_that_is_refused_leads_to_the_refresh(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """A 401, one refresh, one replay."""
    session = await connect(in_hand(emulator, lives=600))
    emulator.revoke_access_tokens()
    async with session.get(CUSTOMER) as response:
        assert response.status == 200
    assert session.statistics().renewals == 1


@pytest.mark.parametrize("how", ["refresh", "sign_in"])
async def test_who_asks_for_a_new_token_gets_one_from_the_service(
    emulator: NexudusEmulator, connect: Connect, how: str
) -> None:
    """`refresh()` and `sign_in()` are not content with the access token in hand."""
    session = await connect(in_hand(emulator, lives=600))
    await getattr(session, how)()
    assert len(emulator.token_requests) == 1
    assert (session.statistics().renewals, session.statistics().adoptions) == (1, 0)


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "with a store"])
async def test_when_the_chain_ends_the_error_says_how_to_seed_again(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, shared: bool
) -> None:
    """No request any more: what was handed over has been used. The refusal is the cause."""
    session = await connect(in_hand(emulator), store=MemoryStore() if shared else None)
    await session.token()
    clock.advance(3600)
    end_of(emulator)
    with pytest.raises(LoginRequiredError, match="NEXUDUS_REFRESH_TOKEN") as ended:
        await session.token()
    assert isinstance(ended.value.__cause__, TokenEndpointError)
    assert emulator.renewals_refused == 1
    for _ in range(5):
        clock.advance(3600)
        with pytest.raises(LoginRequiredError):
            await session.token()
    assert len(emulator.token_requests) == 2
    with pytest.raises(LoginRequiredError):
        await session.sign_in()
    assert len(emulator.token_requests) == 2


async def test_a_refused_hand_over_is_sent_once(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Under back-off or without."""
    credentials = in_hand(emulator)
    end_of(emulator)
    session = await connect(credentials)
    for _ in range(5):
        with pytest.raises(LoginRequiredError):
            await session.token()
        clock.advance(3600)
    assert emulator.renewals_refused == 1


async def test_the_wrong_client_id_says_so(emulator: NexudusEmulator, connect: Connect) -> None:
    """The refusal names the header."""
    session = await connect(in_hand(emulator, client_id="another"))
    with pytest.raises(LoginRequiredError) as ended:
        await session.token()
    assert "client_id" in str(ended.value.__cause__)


async def test_callables_are_asked_when_they_are_needed(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Plain or asynchronous; and a newer refresh token that they give later begins a new chain."""
    asked: list[str] = []
    first = in_hand(emulator)
    kept = {"refresh_token": str(first.refresh_token), "client_id": WORKER}

    async def from_vault() -> str:
        asked.append("refresh_token")
        return kept["refresh_token"]

    session = await connect(RefreshTokenCredentials(from_vault, client_id=lambda: kept["client_id"]))
    assert asked == []
    await session.token()
    clock.advance(3600)
    end_of(emulator)
    with pytest.raises(LoginRequiredError):
        await session.token()
    kept.update(refresh_token=emulator.issue(client_id="worker-2").refresh_token, client_id="worker-2")
    clock.advance(60)
    assert (await session.token()).client_id == "worker-2"
    assert (session.statistics().renewals, asked) == (2, ["refresh_token"] * 3)


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        (Fault.answer(503), True),
        (Fault.answer(500), True),
        (Fault.throttled(1, 429), True),
        (Fault.dropped(applied=False), False),
        (Fault.answer(502), False),
        (Fault.answer(403), False),
    ],
    ids=["503", "500", "429", "lost", "a gateway's", "a firewall's"],
)
async def test_what_a_failure_means_for_what_was_handed_over(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, fault: Fault, kept: bool
) -> None:
    """As for any refresh token, but that one whose answer was lost is not kept: at most one prompt replay."""
    clock.autojump = True
    session = await connect(in_hand(emulator))
    emulator.fail("token", fault, times=None)
    for _ in range(4):
        with pytest.raises(NexudusAuthError):
            await session.token()
        clock.advance(60)
    sent = len(emulator.token_requests)
    emulator.faults.clear()
    if kept:
        await session.token()
    else:
        assert sent <= 2
        with pytest.raises(LoginRequiredError):
            await session.token()
    assert len(emulator.token_requests) == sent + kept


async def test_what_was_not_sent_is_kept(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """A service that cannot be reached has used nothing."""
    clock.autojump = True
    credentials = in_hand(emulator)
    async with NexudusEmulator() as gone:
        nobody = gone.url
    session = await connect(credentials, base_url=nobody)
    with pytest.raises(EndpointUnavailableError, match="could not be reached"):
        await session.token()
    clock.advance(60)
    with pytest.raises(EndpointUnavailableError, match="could not be reached"):
        await session.token()


async def test_a_logout_ends_it_for_good(emulator: NexudusEmulator, connect: Connect) -> None:
    """What was handed over has been used."""
    session = await connect(in_hand(emulator, lives=600))
    await session.token()
    await session.logout()
    with pytest.raises(LoginRequiredError, match="hand over"):
        await session.token()
    assert emulator.requests == []


# -- with a store ---------------------------------------------------------------------------------------------------


async def test_two_workers_share_one_hand_over(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """Somebody signs in once; both rotate one record, and what was handed over goes out once."""
    store, credentials = MemoryStore(), in_hand(emulator)
    one, two = [await connect(credentials, store=store) for _ in range(2)]
    for _ in range(4):
        assert (await one.token()).access_token == (await two.token()).access_token
        clock.advance(3600)
    assert (emulator.renewals, emulator.refresh_tokens_reused, emulator.renewals_refused) == (4, 0, 0)


async def test_a_newer_record_wins(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """After a restart, with the same hand-over: the chain goes on, be its access token good or expired."""
    store, credentials = MemoryStore(), in_hand(emulator)
    await (await connect(credentials, store=store)).token()
    for _ in range(3):
        again = await connect(credentials, store=store)
        await again.token()
        clock.advance(3600)
    assert (emulator.renewals, emulator.refresh_tokens_reused) == (3, 0)
    assert len(set(refresh_tokens_sent(emulator))) == 3


async def test_whoever_has_the_store_alone_finds_the_chain(emulator: NexudusEmulator, connect: Connect) -> None:
    """It is filed under the user name, as after a sign-in; or `account=`, where the credentials do not say it."""
    store = MemoryStore()
    token = await (await connect(in_hand(emulator), store=store)).token()
    other = TokenSession(store=store, account=emulator.username, base_url=emulator.url, clock=connect.clock)
    assert (await other.token()).access_token == token.access_token
    await other.close()
    third = await connect(in_hand(emulator, username=None), store=store, account=emulator.username.upper())
    assert (await third.token()).access_token == token.access_token


@pytest.mark.parametrize("lives", [0, 600])
async def test_a_restart_sends_nothing_that_was_sent(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, lives: float
) -> None:
    """When the chain has ended, for whatever reason: the store remembers what was handed over and used."""
    store, credentials = MemoryStore(), in_hand(emulator, lives=lives)
    first = await connect(credentials, store=store)
    await first.token()
    clock.advance(3600)
    end_of(emulator)
    with pytest.raises(LoginRequiredError):
        await first.token()
    emulator.reset_record()
    for _ in range(3):
        clock.advance(3600)
        again = await connect(credentials, store=store)
        with pytest.raises(LoginRequiredError, match="hand over"):
            await again.token()
    assert emulator.requests == []


async def test_another_hand_over_begins_a_new_chain(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """A newer refresh token, when the chain has ended; while that lives it is not touched."""
    store = MemoryStore()
    await (await connect(in_hand(emulator), store=store)).token()
    newer = in_hand(emulator)  # the same client_id: the service has ended the first chain
    second = await connect(newer, store=store)
    await second.token()
    assert emulator.renewals == 1
    clock.advance(3600)
    token = await second.token()
    assert (emulator.renewals_refused, emulator.renewals, token.client_id) == (1, 2, WORKER)
    assert (await (await connect(newer, store=store)).token()).access_token == token.access_token
    assert emulator.refresh_tokens_reused == 0


async def test_a_logout_ends_it_for_the_fleet(emulator: NexudusEmulator, connect: Connect) -> None:
    """A tombstone keeps what was used."""
    store, credentials = MemoryStore(), in_hand(emulator)
    one, two = [await connect(credentials, store=store) for _ in range(2)]
    await one.token()
    await one.logout()
    for session in (one, two, await connect(credentials, store=store)):
        with pytest.raises(LoginRequiredError):
            await session.token()
    assert len(emulator.token_requests) == 1


async def test_a_process_that_dies_in_mid_refresh_has_used_it(emulator: NexudusEmulator, connect: Connect) -> None:
    """Noted under the lock before the sending: nobody knows what came of it, and it is not sent again."""
    store, restored, credentials = MemoryStore(), MemoryStore(), in_hand(emulator)
    dying = await connect(credentials, store=store)
    with emulator.hold("token") as hold:
        waiter = asyncio.create_task(dying.token())
        await hold.wait()
        record = await store.load(key_of(dying))
    await waiter
    assert record is not None
    await restored.save(key_of(dying), record)
    emulator.reset_record()
    restarted = await connect(credentials, store=restored)
    with pytest.raises(LoginRequiredError):
        await restarted.token()
    assert emulator.requests == []


async def test_many_begin_at_once_on_files(emulator: NexudusEmulator, connect: Connect, tmp_path: Path) -> None:
    """Twenty sessions with stores of their own on one file: one request. By the real clock, as the disk goes."""
    credentials, clock = in_hand(emulator), SystemClock()
    sessions = [await connect(credentials, store=FileStore(tmp_path / "tokens"), clock=clock) for _ in range(20)]
    tokens = await asyncio.gather(*(session.token() for session in sessions))
    assert (len({token.access_token for token in tokens}), len(emulator.token_requests)) == (1, 1)
    assert emulator.refresh_tokens_reused == 0


async def test_the_store_keeps_a_mark_that_tells_nothing(emulator: NexudusEmulator, connect: Connect) -> None:
    """Not the token itself, once it is used; and not the same mark for another account."""
    store, credentials = MemoryStore(), in_hand(emulator)
    session = await connect(credentials, store=store)
    await session.token()
    stored = await store.load(key_of(session))
    assert stored is not None
    (mark,) = decode(stored, key_of(session)).tried
    assert str(credentials.refresh_token) not in stored.payload
    assert Tried(key_of(session)).mark_of(str(credentials.refresh_token)) == mark
    assert Tried("another key").mark_of(str(credentials.refresh_token)) != mark


class Flaky(MemoryStore):
    """A store whose operations fail while they are named in `down`."""

    def __init__(self) -> None:
        super().__init__()
        self.down: set[str] = set()

    async def load(self, key: str) -> StoredToken | None:
        if "load" in self.down:
            raise StoreError("down")
        return await super().load(key)

    async def save(self, key: str, record: StoredToken) -> None:
        if "save" in self.down:
            raise StoreError("down")
        await super().save(key, record)


@pytest.mark.parametrize("operation", ["load", "save"])
async def test_what_cannot_be_noted_is_not_sent(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, operation: str
) -> None:
    """A store that is down at the start: another process may have used it. When it is back, it is used, once."""
    store = Flaky()
    session = await connect(in_hand(emulator), store=store)
    store.down = {operation}
    with pytest.raises(StoreError):
        await session.token()
    assert emulator.requests == []
    store.down = set()
    clock.advance(60)
    await session.token()
    assert len(emulator.token_requests) == 1


async def test_a_living_access_token_needs_no_store(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """A store that is down costs nobody a request; the refresh token beside it waits for the store."""
    store = Flaky()
    store.down = {"load", "save"}
    session = await connect(in_hand(emulator, lives=600), store=store)
    token = await session.token()
    assert (emulator.requests, token.refresh_token) == ([], None)
    store.down = set()
    clock.advance(600)
    await session.token()
    assert len(emulator.token_requests) == 1


async def test_a_store_that_loses_the_record_loses_no_mark(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """The process that knows it writes it again."""
    store, credentials = MemoryStore(), in_hand(emulator)
    session = await connect(credentials, store=store)
    await session.token()
    seed = credentials.refresh_token
    await store.clear(key_of(session))
    clock.advance(3600)
    await session.token()
    clock.advance(3600)
    end_of(emulator)
    emulator.reset_record()
    again = await connect(credentials, store=store)
    with pytest.raises(LoginRequiredError):
        await again.token()
    assert seed not in refresh_tokens_sent(emulator)


def test_marks_are_bounded() -> None:
    """The newest 64."""
    tried = Tried("key")
    for number in range(100):
        tried.add(str(number))
    assert (len(tried.marks), "35" in tried, "36" in tried) == (64, False, True)


def test_a_record_without_marks_is_read() -> None:
    """As the release before has written it."""
    stored = encode(Record(3, client_id="x"), "key")
    assert "tried" not in json.loads(stored.payload)
    assert decode(stored, "key").tried == ()
    assert decode(encode(Record(3, tried=("a", "b")), "key"), "key").tried == ("a", "b")


# -- bad input ------------------------------------------------------------------------------------------------------

SEED = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"refresh_token": ""}, "refresh_token must be a non-empty str"),
        ({"refresh_token": None}, "not NoneType"),
        ({"refresh_token": "two words"}, "characters that no token has"),
        ({"access_token": "\r\n"}, "access_token must be"),
        ({"access_token": "é"}, "access_token has characters"),
        ({"client_id": ""}, "client_id must be"),
        ({"client_id": None}, "client_id must be the one that the refresh token was issued to"),
        ({"client_id": "a\nb"}, "printable ASCII"),
        ({"username": " "}, "e-mail address"),
        ({"expires_in": 60}, "pass that too"),
        ({"access_token": "a", "expires_in": "60"}, "seconds"),
        ({"access_token": "a", "expires_in": True}, "seconds"),
        ({"access_token": "a", "expires_in": float("nan")}, "seconds"),
        ({"access_token": "a", "expires_in": float("inf")}, "seconds"),
        ({"access_token": "a", "expires_in": 1_767_225_600}, "ten years"),
        ({"access_token": "a", "expires_in": 10**400}, "ten years"),
    ],
)
def test_a_hand_over_that_cannot_work_is_refused(options: dict[str, Any], says: str) -> None:
    """At once, and without showing it."""
    arguments: dict[str, Any] = {"refresh_token": SEED, "client_id": WORKER} | options
    with pytest.raises(ConfigurationError, match=says) as refused:
        RefreshTokenCredentials(arguments.pop("refresh_token"), **arguments)
    assert not leaked(refused.value, [SEED])


async def test_a_callable_that_gives_no_token_is_named(emulator: NexudusEmulator, connect: Connect) -> None:
    """As one for a password."""
    for given, says in (("", "non-empty str"), ("two words", "no token has"), (7, "not int")):
        session = await connect(RefreshTokenCredentials(lambda given=given: given, client_id=WORKER))  # type: ignore[misc]
        with pytest.raises(ConfigurationError, match=says):
            await session.token()


@pytest.mark.parametrize("store", [None, MemoryStore()])
async def test_a_callable_that_fails_costs_nothing(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, store: MemoryStore | None
) -> None:
    """What was fetched beside it is still good the next time."""
    pair, ids = emulator.issue(client_id=WORKER), ["", WORKER]
    credentials = RefreshTokenCredentials(
        pair.refresh_token, client_id=lambda: ids.pop(0), username="a@example.com", access_token=lambda: ""
    )
    session = await connect(credentials, store=store)
    with pytest.raises(ConfigurationError, match="client_id"):
        await session.token()
    ids.append(WORKER)
    clock.advance(60)
    with pytest.raises(ConfigurationError, match="access_token"):
        await session.token()
    clock.advance(3600)  # by now nobody asks for that one
    await session.token()
    assert len(emulator.token_requests) == 1


async def test_blanks_around_a_token_do_not_matter(emulator: NexudusEmulator, connect: Connect) -> None:
    """A file ends with a newline."""
    pair = emulator.issue(client_id=WORKER)
    await (await connect(RefreshTokenCredentials(f" {pair.refresh_token}\n", client_id=WORKER))).token()
    given = emulator.issue(client_id=WORKER).refresh_token
    await (await connect(RefreshTokenCredentials(lambda: f"{given}\n", client_id=WORKER))).token()


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two variables, and a third if it is there."""
    for name in ("NEXUDUS_REFRESH_TOKEN", "NEXUDUS_CLIENT_ID", "NEXUDUS_USERNAME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="NEXUDUS_REFRESH_TOKEN"):
        RefreshTokenCredentials.from_env()
    monkeypatch.setenv("NEXUDUS_REFRESH_TOKEN", SEED)
    with pytest.raises(ConfigurationError, match="NEXUDUS_CLIENT_ID") as missing:
        RefreshTokenCredentials.from_env()
    assert not leaked(missing.value, [SEED])
    monkeypatch.setenv("NEXUDUS_CLIENT_ID", WORKER)
    assert RefreshTokenCredentials.from_env().username is None
    monkeypatch.setenv("NEXUDUS_USERNAME", "ops@example.com")
    credentials = RefreshTokenCredentials.from_env()
    assert (credentials.refresh_token, credentials.client_id, credentials.username) == (SEED, WORKER, "ops@example.com")


@pytest.mark.parametrize(
    ("credentials", "options", "says"),
    [
        ({}, {"store": MemoryStore()}, "username="),
        ({"username": "a@example.com"}, {"account": "b@example.com"}, "account= is for credentials without"),
        ({}, {"client_id": WORKER}, "belongs to the refresh token"),
        ({}, {"account": 7}, "account must be"),
    ],
)
def test_arguments_of_a_session_that_do_not_go_with_it(
    credentials: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    """Each says what to write instead."""
    with pytest.raises(ConfigurationError, match=says):
        TokenSession(RefreshTokenCredentials(SEED, client_id=WORKER, **credentials), **options)


def test_a_client_id_that_is_an_e_mail_address_names_the_account() -> None:
    """As where whoever signed in sent none."""
    credentials = RefreshTokenCredentials(SEED, client_id="Ops@example.com")
    session = TokenSession(credentials, store=MemoryStore())
    assert key_of(session) == key_of(TokenSession(store=MemoryStore(), account="ops@EXAMPLE.com"))
    assert "Ops@example.com" in repr(session)


def test_no_token_is_shown_or_pickled() -> None:
    """By repr or str; a callable is not shown either."""
    credentials = RefreshTokenCredentials(SEED, client_id=partial(str, SEED), access_token=partial(str, SEED))
    assert SEED not in repr(credentials) + str(credentials) + repr([credentials])
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(credentials)


# -- any source -----------------------------------------------------------------------------------------------------


class Vault:
    """A `TokenSource` of somebody's own: tokens come from a vault that signs in itself."""

    key = "vault"

    def __init__(self, emulator: NexudusEmulator, clock: ManualClock) -> None:
        self._emulator, self._clock, self.asked = emulator, clock, 0

    async def login(self) -> Token:
        self.asked += 1
        pair = self._emulator.issue(lifetime=600)
        ends = datetime.fromtimestamp(self._clock.wall() + 600, UTC)
        return Token(pair.access_token, None, "bearer", None, 600, ends)

    async def refresh(self, token: Token) -> Token:
        return await self.login()


async def test_a_session_takes_any_source_of_tokens(emulator: NexudusEmulator, clock: ManualClock) -> None:
    """In place of credentials; its end is honoured, and so are a 401 and a throttled answer."""
    vault = Vault(emulator, clock)
    clock.autojump = True
    async with TokenSession(source=vault, base_url=emulator.url, clock=clock, keep_alive=True) as session:
        emulator.fail(CUSTOMER, Fault.throttled(1))
        async with session.get(CUSTOMER) as response:
            assert response.status == 200
        emulator.revoke_access_tokens()
        async with session.get(CUSTOMER) as response:
            assert response.status == 200
        assert (vault.asked, session.statistics().throttled, session.statistics().sign_ins) == (2, 1, 2)
        assert "Vault" in repr(session)
    assert emulator.token_requests == []


async def test_a_source_may_be_the_endpoint_itself(emulator: NexudusEmulator, clock: ManualClock) -> None:
    """With a store: another source of the same key finds its tokens."""
    store = MemoryStore()
    async with aiohttp.ClientSession() as http:
        credentials = PasswordCredentials(emulator.username, emulator.password)
        endpoint = TokenEndpoint(http, emulator.url, credentials, clock=clock)
        async with TokenSession(source=endpoint, base_url=emulator.url, clock=clock, store=store) as session:
            await session.token()
        async with TokenSession(credentials, base_url=emulator.url, clock=clock, store=store) as session:
            await session.token()
    assert emulator.sign_ins == 1


@pytest.mark.parametrize("options", [{"credentials": True}, {"account": "a@example.com"}, {"client_id": WORKER}])
def test_a_source_takes_the_place_of_credentials(
    options: dict[str, Any], emulator: NexudusEmulator, clock: ManualClock
) -> None:
    """Both is one too many."""
    if "credentials" in options:
        options = {"credentials": PasswordCredentials("a@example.com", "pw")}
    with pytest.raises(ConfigurationError, match="not both"):
        TokenSession(source=Vault(emulator, clock), **options)
    with pytest.raises(ConfigurationError, match="source must be a TokenSource"):
        TokenSession(source=object())  # type: ignore[arg-type]
