"""Other people's tests replace a session or a manager by a mock: what is a coroutine here is one there."""

import inspect
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock, NonCallableMagicMock, create_autospec, patch

import pytest

from nexudus_async import SessionClosedError, TokenManager, TokenSession

SESSION = ("token", "refresh", "sign_in", "logout", "close")
MANAGER = ("token", "refresh", "sign_in", "logout", "close", "reject")
VERBS = ("get", "post", "put", "patch", "delete", "head", "options", "request", "ws_connect")
CLASSES = pytest.mark.parametrize("kind", [TokenSession, TokenManager])


def makes(kind: type) -> list[Any]:
    return [
        create_autospec(kind, instance=True),
        create_autospec(kind)(Mock()),
        AsyncMock(spec=kind),
        AsyncMock(spec_set=kind),
        MagicMock(spec=kind),
        NonCallableMagicMock(spec_set=kind),
    ]


def methods(kind: type) -> tuple[str, ...]:
    return SESSION if kind is TokenSession else MANAGER


@CLASSES
def test_what_is_awaited_is_a_coroutine_function(kind: type) -> None:
    """By `inspect`, which mocks go by; not a plain function that returns something awaitable."""
    assert [name for name in methods(kind) if not inspect.iscoroutinefunction(getattr(kind, name))] == []


@CLASSES
async def test_every_kind_of_mock_can_be_awaited(kind: type) -> None:
    """With a value, and with an error."""
    for mock in makes(kind):
        for name in methods(kind):
            arguments = ["a token"] if name == "reject" else []
            method = getattr(mock, name)
            method.return_value = "what the test says"
            assert await method(*arguments) == "what the test says"
            method.assert_awaited_once_with(*arguments)
            method.side_effect = SessionClosedError("closed")
            with pytest.raises(SessionClosedError):
                await method(*arguments)


async def test_every_kind_of_mock_has_verbs_to_enter() -> None:
    """`async with session.get(…) as response`, as with aiohttp's own session."""
    for mock in makes(TokenSession):
        for name in VERBS:
            verb = getattr(mock, name)
            verb.return_value.__aenter__.return_value.status = 200
            arguments = ("GET", "/x") if name == "request" else ("/x",)
            async with verb(*arguments, headers={"A": "b"}) as response:
                assert response.status == 200
            verb.assert_called_once_with(*arguments, headers={"A": "b"})


async def test_a_mock_of_a_session_can_be_entered() -> None:
    """`async with TokenSession(…) as session` under `patch`."""
    with patch(f"{__name__}.TokenSession", autospec=True) as made:
        made.return_value.__aenter__.return_value.token.return_value = "a token"
        async with TokenSession(None) as session:
            assert str(await session.token()) == "a token"
        made.assert_called_once_with(None)
        made.return_value.__aexit__.assert_awaited_once()


@CLASSES
def test_a_mock_refuses_what_the_real_one_would(kind: type) -> None:
    """A misspelt method, or an argument too many."""
    mock = create_autospec(kind, instance=True)
    with pytest.raises(AttributeError):
        mock.renew()
    with pytest.raises(TypeError):
        mock.token("an argument too many")
    with pytest.raises(AttributeError):
        AsyncMock(spec=kind).renew  # noqa: B018


async def test_current_and_the_properties_are_no_coroutines() -> None:
    """A mock gives what the test says at once."""
    manager = create_autospec(TokenManager, instance=True)
    manager.current.return_value = None
    assert manager.current() is None
    manager.statistics.return_value.refused = True
    assert manager.statistics().refused
    session = create_autospec(TokenSession, instance=True)
    session.closed = False
    assert session.closed is False
