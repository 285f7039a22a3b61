"""A number that tasks can wait for."""

import asyncio

_PATIENCE = 5.0  # real seconds before a wait gives up a test that would otherwise hang


class Level:
    """A count that goes up and down, and a wait for it to be high enough."""

    def __init__(self) -> None:
        self.value = 0
        self._changed = asyncio.Event()

    def set(self, value: int) -> None:
        """Change the count, and let all who wait look again."""
        self.value = value
        self._changed.set()
        self._changed = asyncio.Event()

    async def at_least(self, n: int) -> None:
        """Return once the count is `n` or more. Raises `TimeoutError` after 5 real seconds."""
        async with asyncio.timeout(_PATIENCE):
            while self.value < n:
                await self._changed.wait()
