"""A fleet in virtual time: real managers on one store, and a token endpoint without a network.

An hour takes as long as what happens in it. `tests/fleet/test_processes.py` has the real processes.
"""

import asyncio
import contextvars
import itertools
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock
from urllib.parse import parse_qsl

from nexudus_async import (
    Event,
    NexudusAuthError,
    PasswordCredentials,
    RefreshPolicy,
    StoredToken,
    StoreError,
    Token,
    TokenEndpoint,
    TokenManager,
    TokenStore,
)
from tests.simulation.loop import VirtualLoop

START_WALL = 1_767_225_600.0
USER, PASSWORD = "ops@example.com", "right"
POLL = 0.2
"""Seconds between two calls of a caller."""


@dataclass(frozen=True)
class Clock:
    """One host's clocks. skew: seconds by which its wall clock is ahead."""

    loop: VirtualLoop
    skew: float = 0.0

    def monotonic(self) -> float:
        return 1_000.0 + self.loop.time()

    def wall(self) -> float:
        return START_WALL + self.loop.time() + self.skew


@dataclass(frozen=True, slots=True)
class Sent:
    """One token request: when, what, by whom, and how it was answered."""

    at: float
    grant: str
    refresh_token: str | None
    client_id: str
    pod: str
    status: int


class Endpoint:
    """Answers the two grants as Nexudus does: refresh tokens rotate, one for each `client_id`.

    fault: called with the grant; the status to answer with instead, 0 for no answer ever, None for none of that.
    checks: called with the form of a sign-in; the error to refuse it with, None for none.
    used_by_faults: whether a request that is answered with a fault has been carried out all the same.
    """

    latency = 0.05

    def __init__(self, loop: VirtualLoop, lifetime: float) -> None:
        self._loop, self.lifetime, self.password = loop, lifetime, PASSWORD
        self.fault: Callable[[str], int | None] = lambda _grant: None
        self.checks: Callable[[dict[str, str]], str | None] = lambda _form: None
        self.used_by_faults = False
        self.log: list[Sent] = []
        self.reused = 0
        self.live: dict[str, str] = {}
        self.used: set[str] = set()
        self.access: dict[str, float] = {}
        self._serial = itertools.count(1)

    def accepts(self, token: Token) -> bool:
        return self.access.get(token.access_token, -1.0) > self._loop.time()

    def revoke(self, *, access: bool = True) -> None:
        self.live.clear()
        if access:
            self.access.clear()

    def count(self, grant: str) -> int:
        return sum(sent.grant == grant for sent in self.log)

    async def answer(self, form: dict[str, str], client_id: str, pod: str) -> tuple[int, dict[str, object]]:
        await asyncio.sleep(self.latency)
        grant, refresh_token = form["grant_type"], form.get("refresh_token")
        status = self.fault(grant)
        document: dict[str, object] = {}
        if status is None or self.used_by_faults:
            document = self.carry_out(form, client_id)
        if status is None:
            status = 400 if "error" in document else 200
        self.log.append(Sent(self._loop.time(), grant, refresh_token, client_id, pod, status))
        if status == 0:
            await asyncio.sleep(1e6)
        await asyncio.sleep(self.latency)
        return status, document if status in (200, 400) else {}

    def carry_out(self, form: dict[str, str], client_id: str) -> dict[str, object]:
        if form["grant_type"] == "password":
            refused = form["password"] != self.password
            if (error := self.checks(form)) is not None:
                return {"error": error}
        else:
            refresh_token = form["refresh_token"]
            self.reused += refresh_token in self.used
            refused = self.live.get(client_id) != refresh_token
            self.used.add(refresh_token)
        if refused:
            return {"error": "invalid_grant"}
        access, refresh = (f"{kind}-{next(self._serial)}" for kind in ("access", "refresh"))
        self.access[access] = self._loop.time() + self.lifetime
        self.live[client_id] = refresh
        return {
            "access_token": access, "token_type": "bearer", "expires_in": self.lifetime, "refresh_token": refresh
        }  # fmt: skip


class Http:
    """What a pod's token requests go through, in place of an `aiohttp.ClientSession`."""

    closed = False

    def __init__(self, endpoint: Endpoint, pod: str) -> None:
        self._endpoint, self._pod = endpoint, pod

    def post(self, _url: object, *, data: Any, headers: Any, **_options: Any) -> AbstractAsyncContextManager[Any]:
        @asynccontextmanager
        async def exchange() -> AsyncGenerator[Any]:
            form = dict(parse_qsl(bytes(data).decode(), keep_blank_values=True))
            status, document = await self._endpoint.answer(form, headers["client_id"], self._pod)
            parts = [json.dumps(document).encode(), b""]

            async def read(_size: int) -> bytes:
                return parts.pop(0)

            content = SimpleNamespace(read=read)
            yield SimpleNamespace(status=status, headers={"Content-Type": "application/json"}, content=content)

        return exchange()


class Store:
    """A store that counts, takes its time, can be switched off, and can lose everything.

    latency: seconds of each operation.
    """

    latency = 0.001

    def __init__(self) -> None:
        self.down = self.loads_down = self.saves_down = False
        self.counts: Counter[str] = Counter()
        self.records: dict[str, StoredToken] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def load(self, key: str) -> StoredToken | None:
        await self._work("load", down=self.loads_down)
        return self.records.get(key)

    async def save(self, key: str, record: StoredToken) -> None:
        await self._work("save", down=self.saves_down)
        kept = self.records.get(key)
        if kept is None or kept.generation <= record.generation:
            self.records[key] = record

    async def clear(self, key: str) -> None:
        self.records.pop(key, None)

    @asynccontextmanager
    async def refresh_lock(self, key: str) -> AsyncGenerator[None]:
        self.counts["lock"] += 1
        if self.down:
            raise StoreError("the store is switched off")
        async with self._locks.setdefault(key, asyncio.Lock()):
            yield

    def flush(self) -> None:
        """Lose every record and every lock, as FLUSHALL does."""
        self.records, self._locks = {}, {}

    async def _work(self, operation: str, *, down: bool) -> None:
        self.counts[operation] += 1
        await asyncio.sleep(self.latency)
        if down or self.down:
            raise StoreError("the store is switched off")


class World:
    """One account, its endpoint, a store, and the pods that share them."""

    def __init__(self, loop: VirtualLoop, seed: int, lifetime: float) -> None:
        self.loop, self.random = loop, Random(seed)
        self.endpoint = Endpoint(loop, lifetime)
        self.store = Store()
        self.events: list[Event] = []
        self.pods: list[TokenManager] = []

    def now(self) -> float:
        return self.loop.time()

    def pod(
        self, password: Any = PASSWORD, *, store: TokenStore | None = None, shared: bool = True, **options: Any
    ) -> TokenManager:
        """Make one more process. password: None for one without credentials. store: another than the world's.

        shared: whether it has a store at all. credentials: others than a password.
        """
        name, clock = f"pod {len(self.pods)}", Clock(self.loop, options.pop("skew", 0.0))
        policy = options.pop("policy", None) or RefreshPolicy()
        by_password = None if password is None else PasswordCredentials(USER, password, options.pop("totp", None))
        credentials = options.pop("credentials", by_password)
        source = TokenEndpoint(
            cast(Any, Http(self.endpoint, name)), "https://spaces.nexudus.com", credentials,
            clock=clock, account=None if credentials else USER, policy=policy, **options,
        )  # fmt: skip
        manager = TokenManager(
            source, store=(store or self.store) if shared else None, clock=clock, policy=policy, label=name,
            random=Random(self.random.random()), on_event=self.events.append,
        )  # fmt: skip
        self.pods.append(manager)
        return manager

    async def until(self, moment: float) -> None:
        await asyncio.sleep(moment - self.now())

    async def leap(self, moment: float) -> None:
        """Let time pass in one go: for years in which nothing happens but looks at the clock."""
        vars(self.loop)["_now"] = moment
        await asyncio.sleep(0)

    async def close(self) -> None:
        await asyncio.gather(*(pod.close() for pod in self.pods))


def play(scene: Callable[[World], Coroutine[Any, Any, None]], *, lifetime: float, seed: int = 0) -> World:
    """Let `scene` happen, close its pods, and return its world for the facts."""
    loop = VirtualLoop(Random(seed))
    world = World(loop, seed, lifetime)

    async def main() -> None:
        try:
            await scene(world)
        finally:
            await world.close()

    cheap = mock.patch("nexudus_async._oauth.rejected_password.COST", 2)
    with _the_same_chance(seed), mock.patch("anyio.to_thread.run_sync", _at_once), cheap:
        loop.run(main())
    return world


async def _at_once(function: Callable[[], Any], **_options: Any) -> Any:
    """Stand in for a thread: what it computes takes no time here."""
    return function()


@contextmanager
def _the_same_chance(seed: int) -> Generator[None]:
    """The waits between tries are tenacity's, by the random numbers of the whole program."""
    import random

    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


@dataclass
class Caller:
    """One that asks for the token again and again, and what it got: the moments of its failures, and of successes."""

    served: list[float]
    failed: list[float]
    slowest: float = 0.0

    @property
    def share(self) -> float:
        return len(self.served) / (len(self.served) + len(self.failed))


async def call(world: World, pod: TokenManager, end: float, *, every: float = POLL, start: float = 0.0) -> Caller:
    """Ask for the token until the moment `end`."""
    caller = Caller([], [])
    await asyncio.sleep(start)
    while world.now() < end:
        began = world.now()
        try:
            token = await pod.token()
        except NexudusAuthError:
            caller.failed.append(world.now())
        else:
            (caller.served if world.endpoint.accepts(token) else caller.failed).append(world.now())
        caller.slowest = max(caller.slowest, world.now() - began)
        await asyncio.sleep(every)
    return caller


def spawn(*work: Coroutine[Any, Any, Caller]) -> "list[asyncio.Task[Caller]]":
    return [asyncio.create_task(each, context=contextvars.Context()) for each in work]
