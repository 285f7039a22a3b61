"""Faults of the library that the simulation has found and that are still to be mended: they end a day, and no more.

Each line is what a violation begins with, and why it happens. Whoever mends one takes its line out, and has its test.
"""

__all__ = ["KNOWN"]

KNOWN: dict[str, str] = {
    "never 1: a refresh token that others have is sent while": "12: a chain that was signed in apart stays one's own",
    "blind: a refresh": "14: without credentials, a refresh token refused while the store was down is sent once more",
    "told the saver: ": "18: what saves reads of a logout, and what serves is not told",
    "apart: never 1": "20: a refused refresh token of one's own chain, with the store down, is kept and sent again",
    "same generation: ": "21: a tombstone of the same generation as an unsaved token ends it for the store only",
    "unnoted: never 1": "22: a refusal that could not be noted is forgotten, and with it that the token is in doubt",
    "never 1: a refresh token is in the store as a good": "22, 23: the unsaved keeps a token refused since",
    "contested: ": "11: what `manager.reject` has said outlives an answer of the API that accepts the token",
    "unseen: ": "15: what could not be saved is saved unseen when a load fails",
    "overtaken: logout": "17: a sign-in takes the place of a logout that is still to be saved",
    "logged out: never 6: a request is sent though": "13: a logout takes the fleet's pause and latch along",
}
