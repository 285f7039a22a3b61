"""What a handler of the emulator knows of the request under way, and leaves for its record."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final


@dataclass(slots=True)
class Note:
    """who: the user whose token or credentials came along. remark: what the record shall say, an unknown filter say."""

    who: str | None = None
    remark: str | None = None


NOTE: Final[ContextVar[Note]] = ContextVar("nexudus_emulator_note")
"""Set by the service before a handler is called, in the handler's own task."""
