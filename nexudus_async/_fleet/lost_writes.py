"""What a store may have lost: the lock, and the note in the record, which say that another process is refreshing.

A record that is gone, or older, or that nobody can read, shows at once: `renewal.py` sees to that. But after a
fail-over to a replica, or a restart from a disk, the record may be there, and lack what was written last. It was then
written to another server than the one that keeps it now. Whoever was refreshing has ended after the time that a refresh
may take, and has saved what came of it.
"""

from nexudus_async._clock import Clock
from nexudus_async.stores._record import Record


class LostWrites:
    """Tells for one process. patience: seconds after which another process's refresh has ended, its save included."""

    def __init__(self, clock: Clock, patience: float) -> None:
        self._clock, self._patience = clock, patience
        self._moved: tuple[int, float] | None = None
        """The generation of a record that was found on another server than it was written to, and when."""

    def may_be_lost(self, record: Record, server: str | None) -> bool:
        """Tell whether the last note may be lost, and who wrote it still be at work. server: who answers now."""
        if record.server is None or server is None or record.server == server:
            return False
        now = self._clock.monotonic()
        if self._moved is None or self._moved[0] != record.generation:
            self._moved = record.generation, now
        return now - self._moved[1] < self._patience
