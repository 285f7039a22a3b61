"""Bad input is named at once, with what to write instead, and shows no secret."""

from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from nexudus_async import (
    BearerMiddleware,
    ConfigurationError,
    MemoryStore,
    Pacing,
    PasswordCredentials,
    RefreshPolicy,
    SessionClosedError,
    Token,
    TokenEndpoint,
    TokenManager,
    TokenSession,
    totp_from_secret,
)

GOOD = PasswordCredentials("ops@example.com", "pw-secret")


class NoKey:
    """A source that names no account."""

    async def login(self) -> Token:
        raise AssertionError

    async def refresh(self, token: Token) -> Token:
        raise AssertionError


class NumberForKey(NoKey):
    key = 7


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"base_url": "http://spaces.nexudus.com"}, "allow_insecure_http"),
        ({"base_url": "https://"}, "host"),
        ({"base_url": "spaces.nexudus.com"}, "https://spaces.nexudus.com"),
        ({"base_url": "/api"}, "https://spaces.nexudus.com"),
        ({"base_url": "ftp://spaces.nexudus.com"}, "http"),
        ({"base_url": "https://me:pw-secret@spaces.nexudus.com"}, "user name"),
        ({"base_url": "https://spaces.nexudus.com/api"}, "path"),
        ({"base_url": "https://spaces.nexudus.com?x=1"}, "query"),
        ({"base_url": 7}, "base_url"),
        ({"base_url": "https://[::1"}, "base_url"),
        ({"client_id": ""}, "client_id"),
        ({"client_id": "a\r\nb"}, "client_id"),
        ({"client_id": "é"}, "client_id"),
        ({"allowed_origins": "https://example.com"}, "list"),
        ({"allowed_origins": ["https://example.com/path"]}, "allowed_origins"),
        ({"allowed_origins": ["http://example.com"]}, "allow_insecure_http"),
        ({"allowed_origins": None}, "list"),
        ({"allowed_origins": ["https://*.nexudus.com"]}, "wildcards"),
        ({"base_url": "https://spaces.nexudus.com\n"}, "blanks"),
        ({"base_url": " https://spaces.nexudus.com"}, "base_url"),
        ({"base_url": "https://spaces nexudus.com"}, "base_url"),
        ({"client_session": object()}, "ClientSession"),
        ({"on_event": "print"}, "on_event"),
        ({"client_id": 3}, "client_id must be text"),
        ({"policy": 3}, "policy must be a RefreshPolicy"),
        ({"clock": 3}, "clock must be a Clock"),
        ({"store": 3}, "store must be a TokenStore"),
        ({"store": MemoryStore}, "not the class MemoryStore itself"),
        ({"throttle": 3}, "throttle must be a Throttle"),
        ({"throttle": True}, "throttle must be a Throttle"),
        ({"pacing": Pacing}, "pacing must be a Pacing"),
        ({"keep_alive": "yes"}, "keep_alive must be True or False"),
    ],
)
def test_arguments_that_cannot_work_are_refused(options: dict[str, Any], says: str) -> None:
    """Constructing raises; nothing is left for the first request to find out."""
    with pytest.raises(ConfigurationError, match=says) as refused:
        TokenSession(GOOD, **options)
    assert "pw-secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "NEXUDUS_BASE_URL"),
        ({"base_url": "http://spaces.nexudus.com"}, "base_url"),
        ({"base_url": "https://spaces.nexudus.com", "allowed_origins": ["http://example.com"]}, "allowed_origins"),
    ],
)
def test_an_origin_is_named_by_where_it_stands(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], named: str
) -> None:
    """Whoever set the variable months ago finds it."""
    monkeypatch.setenv("NEXUDUS_BASE_URL", "http://elsewhere.example")
    with pytest.raises(ConfigurationError, match=f"^{named}") as refused:
        TokenSession(GOOD, **options)
    others = {"NEXUDUS_BASE_URL", "base_url", "allowed_origins"} - {named}
    assert not any(other in str(refused.value) for other in others)


def test_credentials_of_another_kind_are_refused() -> None:
    """A tuple is not credentials, and is not shown."""
    with pytest.raises(ConfigurationError, match="PasswordCredentials") as refused:
        TokenSession(("ops@example.com", "pw-secret"))  # type: ignore[arg-type]
    assert "pw-secret" not in str(refused.value)


async def test_a_listener_that_would_never_run_is_refused() -> None:
    """A coroutine function would be called and not awaited."""

    async def listen(event: object) -> None: ...

    with pytest.raises(ConfigurationError, match="plain function"):
        TokenSession(GOOD, on_event=listen)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: TokenManager(None), "source"),  # type: ignore[arg-type]
        (lambda: TokenManager(object()), "source must be a TokenSource"),  # type: ignore[arg-type]
        (lambda: TokenManager(NoKey()), "source must have a key"),  # type: ignore[arg-type]
        (lambda: TokenManager(NumberForKey()), "source must have a key"),  # type: ignore[arg-type]
        (lambda: BearerMiddleware(None, ["https://example.com"]), "manager"),  # type: ignore[arg-type]
        (lambda: TokenEndpoint(None, "https://example.com", GOOD), "ClientSession"),  # type: ignore[arg-type]
        (lambda: TokenEndpoint(print, "https://example.com", "me:pw-secret"), "PasswordCredentials"),  # type: ignore[arg-type]
    ],
)
def test_parts_that_do_not_fit_together_are_refused(make: Callable[[], object], says: str) -> None:
    """As for the session that is made of them."""
    with pytest.raises(ConfigurationError, match=says) as refused:
        make()
    assert "pw-secret" not in str(refused.value)


async def test_a_closed_session_is_not_entered() -> None:
    """At once, not at the first request inside the block."""
    session = TokenSession(GOOD)
    await session.close()
    with pytest.raises(SessionClosedError):
        await session.__aenter__()


async def test_a_closed_borrowed_session_is_refused() -> None:
    """At construction, and at use when it was closed meanwhile."""
    async with aiohttp.ClientSession() as closed:
        session = TokenSession(GOOD, client_session=closed)
    with pytest.raises(ConfigurationError, match="closed"):
        TokenSession(GOOD, client_session=closed)
    with pytest.raises(ConfigurationError, match="closed"):
        await session.get("/api/x")
    await session.close()


@pytest.mark.parametrize("origins", [[], ["example.com"], ["http://example.com"]])
def test_origins_of_a_middleware_that_cannot_work_are_refused(origins: list[str]) -> None:
    """The same rule as for `base_url`."""
    session = TokenSession(GOOD)
    with pytest.raises(ConfigurationError, match="origins"):
        BearerMiddleware(session.manager, origins)


def test_plain_http_to_this_machine_is_fine() -> None:
    """Nothing leaves it."""
    for url in ("http://127.0.0.1:8080", "http://localhost", "http://[::1]:1", "http://api.localhost"):
        TokenSession(GOOD, base_url=url)
    TokenSession(GOOD, base_url="http://spaces.nexudus.com", allow_insecure_http=True)


def test_a_policy_goes_with_the_session() -> None:
    """Its own checks are tested elsewhere; here only that they are reached."""
    with pytest.raises(ConfigurationError, match="jitter"):
        TokenSession(GOOD, policy=RefreshPolicy(jitter=2))


@pytest.mark.parametrize("key", ["JBSW Y3DP EHPK 3PXP", "jbswy3dpehpk3pxp", 2 * "JBSWY3DPEHPK3PXP", "JBSWY3DPEE======"])
def test_a_totp_key_works_as_it_was_shown(key: str) -> None:
    """In groups, in lower case, padded, and of 80 bits, as many services give them."""
    assert len(totp_from_secret(key)()) == 6


@pytest.mark.parametrize("key", ["", "pw-secret1!", "0189", "A"])
def test_a_totp_key_that_is_none_is_refused_unseen(key: str) -> None:
    """The key is a secret: it is in no text of the error."""
    with pytest.raises(ConfigurationError, match="base32") as refused:
        totp_from_secret(key)
    assert not key or key not in str(refused.value)
    assert refused.value.__cause__ is None
