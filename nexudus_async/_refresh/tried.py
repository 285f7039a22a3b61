"""Credentials for one use that were used: a refresh token that was handed over to begin a chain, a one-time JWT."""

import hashlib
from collections.abc import Iterable
from typing import Final

MAX_MARKS: Final = 64
"""Remembered at once, the newest: each was handed over by a person, and lives for 15 days at most."""
SIZE: Final = 16
"""Bytes of a mark. The tokens have 128 random bits or more: nobody guesses one, so a fast hash gives none away."""


class Tried:
    """Remembers them by marks, which lie in a store for the other processes, and for this one after a restart.

    A mark is a hash of the token, keyed by what the store files the account under. It leads back to no token.
    """

    def __init__(self, key: str) -> None:
        self._key = key.encode()[: hashlib.blake2b.MAX_KEY_SIZE]
        self._marks: dict[str, None] = {}

    def mark_of(self, secret: str) -> str:
        """Return the mark of a token: the same in all processes."""
        return hashlib.blake2b(secret.encode(), key=self._key, digest_size=SIZE).hexdigest()

    def add(self, mark: str) -> None:
        """Learn that it is about to be used."""
        self.learn((mark,))

    def take_back(self, mark: str) -> None:
        """Learn that it was not used after all."""
        self._marks.pop(mark, None)

    def learn(self, marks: Iterable[str]) -> None:
        """Learn what other processes have used."""
        self._marks |= dict.fromkeys(marks)
        while len(self._marks) > MAX_MARKS:
            del self._marks[next(iter(self._marks))]

    def __contains__(self, mark: object) -> bool:
        return mark in self._marks

    @property
    def marks(self) -> tuple[str, ...]:
        """All that are remembered, the oldest first."""
        return tuple(self._marks)
