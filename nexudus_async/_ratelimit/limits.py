"""What sessions share whose requests are to stay below one limit: one gate, and one pace."""

from collections.abc import Callable

from nexudus_async._clock import Clock
from nexudus_async._events import Event

from .gate import Gate
from .pacing import Pacer, Pacing


class Limits:
    """The gate and the pace of one session, or of many.

    pacing: None: requests are not paced. key: what processes that share a budget in Redis file it under.
    """

    def __init__(
        self, pacing: Pacing | None, *, key: str, clock: Clock, emit: Callable[[Callable[[], Event]], None]
    ) -> None:
        self.gate = gate = Gate(clock)
        self.pacer = None
        if pacing is not None:
            self.pacer = Pacer(pacing, key=key, clock=clock, emit=emit, hold=gate.pause_left)

    def close(self) -> None:
        """End every wait for the gate and for the pace."""
        self.gate.close()
        if self.pacer is not None:
            self.pacer.close()

    async def disconnect(self) -> None:
        """Close what is left open, after `close()`."""
        if self.pacer is not None:
            await self.pacer.disconnect()
