"""What has happened in a fleet, for those who judge it, and what follows from it. Nothing is judged here."""

import asyncio
from collections.abc import Callable

from .facts import Flight, Issued, Seen, Sent
from .store import StoreServer

__all__ = ["History"]

EPSILON = 0.005


class History:
    """What passed at the doors.

    now: seconds that pass. wall, generation: of a process, what its clock shows and which token it holds.
    """

    def __init__(
        self, now: Callable[[], float], wall: Callable[[int], float], generation: Callable[[int], int]
    ) -> None:
        self.now, self.wall, self.generation = now, wall, generation
        self.server: StoreServer
        self.seen: list[Seen] = []
        self.issued: dict[str, Issued] = {}
        self.sent: list[Sent] = []
        self.flights: dict[object, Flight] = {}
        self.shared: set[str] = set()
        """The refresh tokens that were in the store once."""
        self.newest: dict[str, Issued] = {}
        """The newest token of each client_id that the store had."""
        self.graves: dict[int, dict[str, int]] = {}
        """Of each logout in the store, by its generation: the newest token of each client_id that it ends."""
        self.latched_password = ""
        """The password that rests, if the record says that one does."""
        self._forgotten = 0
        """Up to how many requests ago the store may have forgotten what was done with them."""

    def flight(self) -> Flight:
        """Return the flight that runs now."""
        return self.flights.get(asyncio.current_task()) or Flight(-1, self.now())

    # The store

    def forgets(self) -> None:
        """The store has lost what it had, or a part of it."""
        self._forgotten = len(self.sent)
        self.newest.clear()
        self.graves.clear()

    @property
    def has_forgotten(self) -> bool:
        """Whether the store has lost something on this day."""
        return self._forgotten > 0

    @property
    def may_be_old(self) -> bool:
        """Whether the store has shown, or may have shown, something that was not the newest."""
        return self.has_forgotten or self.server.lag_until > 0

    def is_forgotten(self, sent: Sent) -> bool:
        return self.sent.index(sent) < self._forgotten

    # Tokens

    def carrying(self, refresh_token: str) -> list[Sent]:
        """Return the requests that have carried a refresh token."""
        return [each for each in self.sent if refresh_token and each.request.refresh_token == refresh_token]

    def under_way(self, process: int) -> list[Sent]:
        return [each for each in self.sent if each.process == process and each.request.outcome is None]

    def newest_of(self, client_id: str) -> int:
        return max((each.serial for each in self.issued.values() if each.client_id == client_id), default=0)

    def newest_by(self, process: int, client_id: str) -> int:
        """Return the serial of the newest token of a chain that a process was given."""
        own = (each.serial for each in self.issued.values() if (each.by, each.client_id) == (process, client_id))
        return max(own, default=0)

    def life_of(self, issued: Issued, process: int) -> float:
        """Return the seconds that a token lives for certain, by the clock of a process: that may be ahead."""
        ahead = self.seen[process].ahead - self.seen[issued.by].ahead
        return issued.sent + issued.lifetime - max(0.0, ahead) - self.now()

    def lives(self, process: int) -> bool:
        """Tell whether a process holds a token that is good for certain, as far as it can know."""
        seen = self.seen[process]
        current = seen.current
        if current is None or current.access in seen.rejected or self.is_dead(current, seen):
            return False
        return self.life_of(current, process) > EPSILON

    def is_good(self, process: int) -> bool:
        """Tell whether it lives for longer than the margin in which callers wait for another."""
        current = self.seen[process].current
        return (
            self.lives(process)
            and current is not None
            and (self.life_of(current, process) > min(60.0, current.lifetime / 10) + EPSILON)
        )

    # Logouts

    def bury(self, seen: Seen, client_id: str, serial: int) -> None:
        """A process learns that a chain has ended, up to a token."""
        seen.burials += 1
        seen.dead[client_id] = max(seen.dead.get(client_id, 0), serial)
        if seen.current is not None and self.is_dead(seen.current, seen):
            seen.current = None

    def is_dead(self, issued: Issued, seen: Seen) -> bool:
        return issued.serial <= seen.dead.get(issued.client_id, 0)

    def issue_of(self, refresh_token: str) -> Issued | None:
        """Return what a refresh token came with first."""
        return next((each for each in self.issued.values() if each.refresh == refresh_token), None)

    def how(self, issued: Issued) -> str:
        """Return how a process can have missed that a token has ended, for what is known of."""
        return "" if issued.refresh in self.shared else "unsaved: "
