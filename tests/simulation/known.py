"""Faults of the library that the simulation has found and that are still to be mended: they end a day, and no more.

Each line is what a violation begins with, and why it happens. Whoever mends one takes its line out, and has its test.
"""

__all__ = ["KNOWN"]

KNOWN: dict[str, str] = {
    "wavers: ": "31: a refresh token is sent, not noted, though a save that has failed may have been carried out",
    "unsaved: logout": "32: what is unsaved of a chain outranks a logout by another process that did not know of it",
    "beside: never 1": "33: what is taken from an expired record is put back, in a lost store, below its generation",
    "own: never 1": "34: a chain of one's own is refreshed without the store while it is being saved",
    "unreadable: never 1": "35: what is unsaved beside an adopted token hides that nobody can read the record",
}
