"""What must never happen in a fleet, by what passes at three doors: the service's, the store's, and the callers'."""

from collections.abc import Callable

from tests.simulation.pauses import EPSILON

from .content import content_of
from .facts import Flight
from .history import History
from .records import Records
from .requests import Requests

__all__ = ["Judge"]


class Judge:
    """Watches a fleet.

    now: seconds that pass. wall, generation: of a process, what its clock shows and which token it holds.
    report: called with what must never happen.
    """

    def __init__(
        self,
        now: Callable[[], float],
        wall: Callable[[int], float],
        generation: Callable[[int], int],
        report: Callable[[str], None],
    ) -> None:
        self.history = History(now, wall, generation)
        self.requests = Requests(self.history, report)
        self.records = Records(self.history, report)
        self._report = report

    # Flights

    def launched(self, process: int, task: object, *, forced: bool) -> None:
        """A flight begins. forced: asked for by hand."""
        self.history.flights[task] = Flight(process, self.history.now(), forced)

    def asked_by_hand(self, process: int) -> None:
        """Somebody calls `refresh()`: a flight in the air tries for them, whatever holds it off."""
        for flight in self.history.flights.values():
            flight.forced |= flight.process == process

    def begun_by(self, task: object, parent: object) -> None:
        """A task begins another one, which belongs to the same flight."""
        flights = self.history.flights
        if parent in flights:
            flights[task] = flights[parent]

    # The callers' door

    def adopted(self, process: int) -> None:
        """A process says that it has taken a token from the store: the one that it read last."""
        seen = self.history.seen[process]
        before = seen.current
        if seen.loaded is not None:
            seen.current = self.history.issued.get(seen.loaded.access, seen.current)
        if before is not None and seen.current is before:
            self._report("a process has adopted the token that it had")

    def serves(self, process: int, access: str, burials: int) -> None:
        """A process gives a token to a caller, or sends it. burials: how many chains had ended when the call began."""
        history = self.history
        issued, seen = history.issued.get(access), history.seen[process]
        if issued is None:
            self._report("a token was served that nobody issued")
            return
        behind = max(0.0, history.seen[issued.by].ahead - seen.ahead)
        if issued.sent + issued.lifetime + behind + EPSILON < history.now():
            self._report("never 3: an expired token was served")
        if burials == seen.burials and history.is_dead(issued, seen):
            self._report(f"{history.how(issued)}logout: a token of the chain that it ended was served")

    def logs_out(self, process: int) -> None:
        """A process is told to forget everything."""
        history = self.history
        seen, record = history.seen[process], content_of(history.server.record)
        seen.logouts += 1
        seen.unburied = True
        for client_id in (seen.current.client_id if seen.current else "", record.client_id if record else ""):
            history.bury(seen, client_id, history.newest_of(client_id))
        seen.current = seen.newest = None
