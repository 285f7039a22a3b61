"""How fast the requests of a session may go, in one object: sessions that are given the same one share it."""

from nexudus_async._clock import Clock
from nexudus_async._events import Emitter

from .gate import Gate
from .pacing import Pacer, Pacing
from .throttle import Throttle


class Limits:
    """The throttle with its gate, and the pace, of one session or of many.

    throttle: None: throttled answers are the caller's. pacing: None: requests are not paced.
    key: what processes that share a budget in Redis file it under. emitter: tells when that budget cannot be read.
    """

    def __init__(
        self,
        throttle: Throttle | None,
        pacing: Pacing | None,
        *,
        key: str,
        clock: Clock,
        emitter: Emitter,
    ) -> None:
        self.throttle = throttle
        self.gate = gate = Gate(clock, throttle.first_wait if throttle is not None else 0.0)
        self.pacer = None
        if pacing is not None:
            self.pacer = Pacer(pacing, key=key, clock=clock, emitter=emitter, hold=gate.pause_left)

    def close(self) -> None:
        """End every wait for the gate and for the pace."""
        self.gate.close()
        if self.pacer is not None:
            self.pacer.close()

    async def disconnect(self) -> None:
        """Close what is left open, after `close()`."""
        if self.pacer is not None:
            await self.pacer.disconnect()
