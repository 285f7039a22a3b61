"""`--verbose`: what the package logs, and its events, line by line on standard error."""

import logging
import sys

from nexudus_async._events import Event, Throttled, TokenAdopted, TokenRejected

__all__ = ["heard", "is_shown", "show"]

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
