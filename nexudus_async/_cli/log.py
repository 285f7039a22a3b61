"""`--verbose`: what the package logs, and its events, line by line on standard error."""

import logging
import sys
from collections.abc import Callable

from nexudus_async._events import Event, Listener, Throttled, TokenAdopted, TokenRejected

__all__ = ["heard", "is_shown", "listener", "show"]

logger = logging.getLogger("nexudus_async")


def show(wanted: bool) -> None:
    """Write the log to standard error from now on, if that is wanted."""
    if not wanted or is_shown():
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)s %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


def is_shown() -> bool:
    """Tell whether the log is written to standard error."""
    return logger.level == logging.DEBUG


def listener(tell: Callable[[str], None]) -> Listener:
    """Return what logs events, and tells whoever watches why nothing happens."""

    def hear(event: Event) -> None:
        heard(event)
        if isinstance(event, Throttled):
            tell(f"throttled, waiting {event.wait:.0f} s")

    return hear


def heard(event: Event) -> None:
    """Log the events that the package itself says nothing of."""
    match event:
        case TokenAdopted():
            logger.debug("token %d taken from the store, good for %.0f s", event.generation, event.expires_in)
        case TokenRejected():
            logger.info("the API refused token %d", event.generation)
        case Throttled():
            logger.info("%s %s: %d, waiting %.1f s", event.method, event.path, event.status, event.wait)
        case _:
            pass
