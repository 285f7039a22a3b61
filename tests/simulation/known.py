"""Faults of the library that the simulation has found and that are still to be mended: they end a day, and no more.

Each line is what a violation begins with, and why it happens. Whoever mends one takes its line out, and has its test.
"""

__all__ = ["KNOWN"]

KNOWN: dict[str, str] = {
    "contested: ": "11: a token that was proven stays refused, though the API accepts it after the refusal",
    "latch: it was looked": "10: a password that cannot be fetched is fetched again by every call",
}
