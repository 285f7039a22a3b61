"""Faults of the library that the simulation has found and that are still to be mended: they end a day, and no more.

Each line is what a violation begins with, and why it happens. Whoever mends one takes its line out, and has its test.
"""

__all__ = ["KNOWN"]

KNOWN: dict[str, str] = {
    "own: never 1: password": "34: one's own chain is refreshed without the store, and another signs in",
}
