"""Faults of the library that the simulation has found and that are still to be mended: they end a day, and no more.

Each line is what a violation begins with, and why it happens. Whoever mends one takes its line out, and has its test.
"""

__all__ = ["KNOWN"]

KNOWN: dict[str, str] = {
    "keep-alive: back-off": "1: keep-alive refreshes by `refresh()`, which back-off and latch do not hold",
    "paced: a request was sent with an": "2: a replay keeps its token through the wait for the pace",
    "statistics: a rejection was counted, but": "3: a flight that could not be launched",
    "paced calls:": "5: the pace goes by the wall clock, and waits out what that was set by",
    "closed: a 401 of hops": "6: a 401 that our middleware answers with an error is not released",
    "no memory: keep-alive": "7: the keep-alive task ends when a flight cannot be launched",
    "cancelled: keep-alive": "8: the keep-alive task ends when a flight is cancelled from outside",
    "no memory: answers": "4: the 401 whose flight could not be launched is not released",
}
