"""What `session.get(...)` returns: to be awaited, or entered with `async with`, as aiohttp's own."""

from collections.abc import Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

__all__ = ["RequestContext"]

R = TypeVar("R", bound="AbstractAsyncContextManager[Any]")


class RequestContext(Coroutine[Any, Any, R], Generic[R]):
    """A request that has not been sent yet. It is a coroutine, so that `asyncio.create_task` takes it too."""

    __slots__ = ("_coroutine", "_response")

    def __init__(self, coroutine: Coroutine[Any, Any, R]) -> None:
        self._coroutine = coroutine
        self._response: R

    def __await__(self) -> Generator[Any, Any, R]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *args: Any) -> Any:
        return self._coroutine.throw(*args)

    def close(self) -> None:
        self._coroutine.close()

    async def __aenter__(self) -> R:
        self._response = await self._coroutine
        await self._response.__aenter__()
        return self._response

    def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> Coroutine[Any, Any, bool | None]:
        return self._response.__aexit__(exc_type, exc, traceback)  # not one coroutine more on every request
