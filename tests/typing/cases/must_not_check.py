"""What must not check: each line that ends in E is an error for mypy and for pyright, and no other is. Never run."""

import httpx

from nexudus_async import (
    BearerMiddleware,
    Event,
    Freshness,
    MemoryStore,
    Pacing,
    PasswordCredentials,
    RefreshPolicy,
    StoredToken,
    Throttle,
    Token,
    TokenManager,
    TokenObtained,
    TokenSession,
)
from nexudus_async.httpx import NexudusAuth
from nexudus_async.prometheus import PrometheusMetrics
from nexudus_async.testing import NexudusEmulator

CREDENTIALS = PasswordCredentials("ops@example.com", "password")


async def listen_later(event: Event) -> None:
    print(event)


def listen_to_nothing() -> None:
    pass


class HalfAStore:
    async def load(self, key: str) -> StoredToken | None: ...
    async def save(self, key: str, record: StoredToken) -> None: ...


class SynchronousSource:
    key = "own"

    def login(self) -> Token:
        raise NotImplementedError

    def refresh(self, token: Token, /) -> Token:
        return token


def arguments(manager: TokenManager) -> None:
    PasswordCredentials("ops@example.com")  # E
    PasswordCredentials("ops@example.com", lambda: 7)  # E
    TokenSession("ops@example.com")  # E
    TokenSession(CREDENTIALS, "https://spaces.nexudus.com")  # E
    TokenSession(CREDENTIALS, base_url=7)  # E
    TokenSession(CREDENTIALS, bse_url="https://spaces.nexudus.com")  # E
    TokenSession(CREDENTIALS, store=HalfAStore())  # E
    TokenSession(CREDENTIALS, on_event=listen_later)  # E
    TokenSession(CREDENTIALS, on_event=listen_to_nothing)  # E
    TokenSession(CREDENTIALS, keep_alive="yes")  # E
    TokenSession(CREDENTIALS, throttle=5)  # E
    TokenSession(CREDENTIALS, pacing=Throttle())  # E
    RefreshPolicy(600)  # E
    RefreshPolicy(jitter="a quarter")  # E
    Pacing(requests="120/minute", retries=3)  # E
    TokenManager(SynchronousSource())  # E
    TokenManager(CREDENTIALS)  # E
    BearerMiddleware(manager)  # E
    BearerMiddleware(CREDENTIALS, "https://spaces.nexudus.com")  # E
    NexudusAuth(CREDENTIALS)  # E
    PrometheusMetrics().watch(manager)  # E
    NexudusEmulator(lifetime="a week")  # E


async def uses(session: TokenSession, manager: TokenManager) -> None:
    print(session.token().access_token)  # E
    print((await session.token()).acess_token)  # E
    with session:  # E
        pass
    await session.get("/api", parms={"page": 1})  # E
    await session.get("/api", timeout="5 s")  # E
    await session.get(b"/api")  # E
    print(session.get("/api").status)  # E
    await session.close(5)  # E
    await manager.reject("Bearer …")  # E
    print(manager.current().access_token)  # E
    print(manager.emitter)  # E
    print(Freshness.LIVING)  # E
    httpx.AsyncClient(auth=session)  # E


def what_cannot_be_changed(token: Token, obtained: TokenObtained, session: TokenSession) -> None:
    token.generation = 2  # E
    obtained.waiters = 0  # E
    RefreshPolicy().jitter = 0.5  # E
    session.closed = True  # E
    CREDENTIALS.password = "another"  # E


async def what_is_not_there(token: Token) -> None:
    await MemoryStore().delete("key")  # E
    print(token.refresh_token.upper())  # E
