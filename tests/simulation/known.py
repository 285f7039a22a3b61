"""Faults of the library that the simulation has found and that are still to be mended: they end a day, and no more.

Each line is what a violation begins with, and why it happens. Whoever mends one takes its line out, and has its test.
"""

__all__ = ["KNOWN"]

KNOWN: dict[str, str] = {
    "contested: ": "11: a token that was proven stays refused, though the API accepts it after the refusal",
    "latch: it was looked": "10: a password that cannot be fetched is fetched again by every call",
    "paced: a request was sent with an": "2: a replay keeps its token through the wait for the pace",
    "statistics: a rejection was counted, but": "3: a flight that could not be launched",
    "paced calls:": "5: the pace goes by the wall clock, and waits out what that was set by",
    "no memory: keep-alive": "7: the keep-alive task ends when a flight cannot be launched",
    "cancelled: keep-alive": "8: the keep-alive task ends when a flight is cancelled from outside",
    "a vault: keep-alive": "9: the keep-alive task ends when the password cannot be fetched",
    "no memory: answers": "4: the 401 whose flight could not be launched is not released",
}
