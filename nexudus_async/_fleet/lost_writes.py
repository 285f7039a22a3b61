"""What a store may have lost: that another process is refreshing, which its lock and a note in the record say.

- A store that was emptied has no record any more; one that went back to a copy of itself has an older one; one that
  somebody has written over has one that nobody can read, which counts as a record without a token.
- After a fail-over to a replica, or a restart from a disk, the record may be there, and lack what was written last. It
  was then written to another server than the one that keeps it now. Who was refreshing has ended after the time that a
  flight may take, and has saved what came of it.
"""

from nexudus_async._clock import Clock
from nexudus_async._token import Token
from nexudus_async.stores._record import Record, is_tombstone


class LostWrites:
    """Tells for one process. patience: seconds that a flight of another may take, its save included."""

    def __init__(self, clock: Clock, patience: float) -> None:
        self._clock, self._patience = clock, patience
        self._moved: tuple[int, float] | None = None
        """The generation of a record that was found on another server than it was written to, and when."""

    @staticmethod
    def went_back(record: Record | None, token: Token) -> bool:
        """Tell whether the store has no trace of `token`, which it once had."""
        if record is None or record.generation < token.generation:
            return True
        return record.token is None and not is_tombstone(record)

    def may_be_lost(self, record: Record, server: str | None) -> bool:
        """Tell whether the last note may be lost, and who wrote it still be at work. server: who answers now."""
        if record.server is None or server is None or record.server == server:
            return False
        now = self._clock.monotonic()
        if self._moved is None or self._moved[0] != record.generation:
            self._moved = record.generation, now
        return now - self._moved[1] < self._patience
