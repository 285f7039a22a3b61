"""What must never happen in a fleet, by what passes at three doors: the service's, the store's, and the callers'.

What a process can know is what it has sent, been answered, and read from the store. Of a store that has lost its
records, gone back to older ones, or shows them late nobody can know what it has forgotten: that is forgiven.
"""

import asyncio
from collections.abc import Callable

from tests.simulation.chain import TokenRequest
from tests.simulation.pauses import EPSILON
from tests.simulation.service import Outcome

from .facts import Flight, Issued, Seen, Sent
from .store import LEASE, Content, StoreServer, content_of

__all__ = ["Judge"]

SAVER = "nexudus_async saver"
REPLAY_WITHIN = 10.0
LONGEST_PAUSE = 3600.0 * 1.25
"""Seconds: what is longer was written by a host whose clock is wrong."""
USED = (Outcome.DELIVERED, Outcome.REFUSED, Outcome.LOST, None)
"""How a request may have ended with which a refresh token may have been used: None while it is under way."""


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
        self._now, self._wall, self._generation, self._report = now, wall, generation, report
        self.server: StoreServer
        self.seen: list[Seen] = []
        self.issued: dict[str, Issued] = {}
        self._sent: list[Sent] = []
        self._flights: dict[object, Flight] = {}
        self._shared: set[str] = set()
        """The refresh tokens that were in the store once."""
        self._newest: dict[str, Issued] = {}
        """The newest token of each client_id that the store had."""
        self._graves: dict[int, int] = {}
        """Of each logout in the store, by its generation: the newest token that it ends."""
        self._forgotten = 0
        """Up to how many requests ago the store may have forgotten what was done with them."""

    # The service's door

    def launched(self, process: int, task: object, *, forced: bool) -> None:
        """A flight begins. forced: asked for by hand."""
        self._flights[task] = Flight(process, self._now(), forced)

    def asked_by_hand(self, process: int) -> None:
        """Somebody calls `refresh()`: a flight in the air tries for them, whatever holds it off."""
        for flight in self._flights.values():
            flight.forced |= flight.process == process

    def begun_by(self, task: object, parent: object) -> None:
        """A task begins another one, which belongs to the same flight."""
        if parent in self._flights:
            self._flights[task] = self._flights[parent]

    def _flight(self) -> Flight:
        return self._flights.get(asyncio.current_task()) or Flight(-1, self._now())

    def sends(self, process: int, request: TokenRequest) -> Sent:
        """A token request leaves a process."""
        flight = self._flight()
        blind = flight.failed and not self.seen[process].has_credentials
        sent = Sent(process, request, self._now(), blind, flight)
        if request.refresh_token is not None:
            self._check_refresh(sent, request.refresh_token)
        for other in self._sent:
            if other.request.outcome is None and other.request.client_id == request.client_id:
                self._check_overlap(sent, other)
        self._check_pause(sent)
        self._check_need(sent)
        self._sent.append(sent)
        return sent

    def _check_overlap(self, sent: Sent, other: Sent) -> None:
        if sent.process == other.process:
            self._report("never 1: a process sends two token requests at once")
        elif self._now() - other.flight.began >= LEASE:
            pass  # it has waited for two one-time codes, and the lock has ended
        elif not (sent.blind or other.blind or self.server.lost_at >= min(other.flight.began, sent.flight.began)):
            self._report(f"never 1: {sent.request.grant} while another process has one under way")

    def _check_refresh(self, sent: Sent, refresh_token: str) -> None:
        seen = self.seen[sent.process]
        before = self._with(refresh_token)
        if refresh_token in self._shared and not sent.blind:
            if sent.flight.failed:
                self._report("never 1: a refresh token that others have is sent while the store is down")
            elif self.server.lost_at < 0 and not self.server.is_held_by(sent.process):
                self._report("never 1: a refresh token that others have is sent without the lock")
        for each in before:
            self._check_again(sent, each, before)
        issued = next((each for each in self.issued.values() if each.refresh == refresh_token), None)
        if issued is not None and self._is_dead(issued, seen):
            self._report(f"{self._how(seen)}logout: a refresh token of the chain that it ended is sent")

    def _check_again(self, sent: Sent, each: Sent, before: list[Sent]) -> None:
        """One request has carried the same refresh token before."""
        outcome, own = each.request.outcome, each.process == sent.process
        if outcome is Outcome.BROKEN and each.flight is sent.flight:
            self._report("never 1: a refresh token is sent again in the flight that met a broken service")
        if outcome not in USED or sent.blind or (each.blind and not own):
            return
        lost_its_lock = self.server.lost_at >= each.flight.began
        if not own and (lost_its_lock or self._is_forgotten(each) or self.server.lag_until > each.at):
            return
        if own and each.blind and not sent.blind:
            self._report("blind: a refresh token that was sent while the store was down is sent again")
        elif not own and each.flight.failed and not self.seen[sent.process].has_credentials:
            return  # it read that the token is in doubt, and has no other way to a token
        elif outcome in (Outcome.DELIVERED, Outcome.REFUSED):
            which = ("apart: " if own else "unnoted: ") if each.flight.failed else ""
            whose = "its own" if own else "another's"
            self._report(f"{which}never 1: a refresh token is sent again after it was {outcome.value}, {whose} request")
        elif self.seen[sent.process].attended:
            return
        elif not own:
            self._report("never 1: a refresh token is sent whose answer another process has lost")
        elif len([one for one in before if one.process == sent.process and one.request.outcome in USED]) > 1:
            self._report("never 1: a refresh token is sent again after its one replay")
        elif sent.at - each.request.ended > REPLAY_WITHIN + EPSILON:
            self._report("never 1: a refresh token is replayed late")

    def _check_pause(self, sent: Sent) -> None:
        seen, flight = self.seen[sent.process], sent.flight
        content = flight.loaded
        if content is None or flight.forced or flight.failed or not content.held_off_until:
            return
        left = content.held_off_until - self._wall(sent.process)
        if EPSILON < left < LONGEST_PAUSE and not (content.served and not self.lives(sent.process)):
            whose = "logged out: " if seen.logouts else ""
            self._report(f"{whose}never 6: a request is sent though the fleet rests for another {left:.1f} s")

    def under_way(self, process: int) -> list[Sent]:
        return [each for each in self._sent if each.process == process and each.request.outcome is None]

    def _check_need(self, sent: Sent) -> None:
        """Nothing is asked for that is in the store already."""
        seen, content = self.seen[sent.process], sent.flight.loaded
        issued = self.issued.get(content.access) if content is not None else None
        if content is None or issued is None or sent.flight.forced or sent.flight.failed or seen.logouts:
            return
        newer = content.generation > self._generation(sent.process) and issued.access not in seen.rejected
        if newer and not self._is_dead(issued, seen) and self._life_of(issued, sent.process) > EPSILON:
            self._report("never 1: a request is sent although the store has a newer token, which lives")

    def ended(self, sent: Sent, document: dict[str, object] | None) -> None:
        """A token request is over. document: of the token that came, if one did."""
        if document is None:
            return
        request, seen = sent.request, self.seen[sent.process]
        access, refresh = str(document["access_token"]), str(document.get("refresh_token") or request.refresh_token)
        if refresh == request.refresh_token:  # not rotated: it is as good as new
            self._sent = [each for each in self._sent if each.request.refresh_token != refresh]
        lifetime = float(str(document.get("expires_in", 3600.0)))
        serial = int(access.rsplit("-", 1)[1])
        issued = self.issued[access] = Issued(
            serial, access, refresh, request.client_id, lifetime, sent.at, sent.process, sent.flight.began
        )
        seen.overtaken |= seen.unburied
        if request.logouts == seen.logouts and self._life_of(issued, sent.process) > EPSILON:
            seen.current = issued

    # The store's door

    def loaded(self, process: int, content: Content | None) -> None:
        seen = self.seen[process]
        seen.loaded = self._flight().loaded = content
        seen.unseen = False
        if content is None:
            return
        if content.is_tombstone and content.generation >= self._generation(process):
            seen.current = None  # be it of another chain, and newer than the logout: nobody can tell
        if content.is_tombstone and content.generation in self._graves and not self.may_be_old:
            self._bury(seen, content.client_id, self._graves[content.generation])
            task = asyncio.current_task()
            seen.told_the_saver = task is not None and task.get_name() == SAVER
            seen.same_generation = content.generation == self._generation(process)

    def saved(self, process: int, before: Content | None, content: Content) -> None:
        if content.is_tombstone:
            self._graves[content.generation] = self._newest_of(content.client_id)
            self._bury(self.seen[process], content.client_id, self._graves[content.generation])
            self.seen[process].unburied = self.seen[process].overtaken = False
        issued = self.issued.get(content.access)
        if issued is None:
            return
        unseen = "unseen: " if self.seen[process].unseen else ""
        self._shared.add(content.refresh)
        if not content.in_doubt and any(
            each.process == process and each.request.outcome is Outcome.REFUSED for each in self._with(content.refresh)
        ):
            self._report("never 1: a refresh token is in the store as a good one by a process to which it was refused")
        server, now = self.server, self._now()
        newest = self._newest.get(issued.client_id, issued)
        sure = server.lag_until < now and server.lost_at < min(issued.began, newest.began)
        if sure and issued.serial < newest.serial:
            self._report(f"{unseen}an older token has replaced a newer one in the store")
        self._newest[issued.client_id] = issued
        buried = before is not None and before.is_tombstone and not self.may_be_old
        if before is not None and buried and issued.serial <= self._graves.get(before.generation, 0):
            self._report(f"{unseen}logout: a token of the chain that it ended is in the store again")

    def store_failed(self, process: int, operation: str) -> None:
        self._flight().failed = True
        if operation == "load":
            self.seen[process].unseen = True

    @property
    def has_forgotten(self) -> bool:
        """Whether the store has lost something on this day."""
        return self._forgotten > 0

    @property
    def may_be_old(self) -> bool:
        """Whether the store has shown, or may have shown, something that was not the newest."""
        return self.has_forgotten or self.server.lag_until > 0

    def forgets(self) -> None:
        """The store has lost what it had, or a part of it."""
        self._forgotten = len(self._sent)
        self._newest.clear()
        self._graves.clear()

    def _is_forgotten(self, each: Sent) -> bool:
        return self._sent.index(each) < self._forgotten

    # The callers' door

    def adopted(self, process: int) -> None:
        """A process says that it has taken a token from the store: the one that it read last."""
        seen = self.seen[process]
        before = seen.current
        if seen.loaded is not None:
            seen.current = self.issued.get(seen.loaded.access, seen.current)
        if before is not None and seen.current is before:
            self._report("a process has adopted the token that it had")

    def lives(self, process: int) -> bool:
        """Tell whether a process holds a token that is good for certain, as far as it can know."""
        seen = self.seen[process]
        current = seen.current
        if current is None or current.access in seen.rejected or self._is_dead(current, seen):
            return False
        return self._life_of(current, process) > EPSILON

    def is_good(self, process: int) -> bool:
        """Tell whether it lives for longer than the margin in which callers wait for another."""
        current = self.seen[process].current
        return (
            self.lives(process)
            and current is not None
            and (self._life_of(current, process) > min(60.0, current.lifetime / 10) + EPSILON)
        )

    def _life_of(self, issued: Issued, process: int) -> float:
        """Return the seconds that a token lives for certain, by the clock of a process: that may be ahead."""
        ahead = self.seen[process].ahead - self.seen[issued.by].ahead
        return issued.sent + issued.lifetime - max(0.0, ahead) - self._now()

    def serves(self, process: int, access: str, burials: int) -> None:
        """A process gives a token to a caller, or sends it. burials: how many chains had ended when the call began."""
        issued, seen = self.issued.get(access), self.seen[process]
        if issued is None:
            self._report("a token was served that nobody issued")
            return
        behind = max(0.0, self.seen[issued.by].ahead - seen.ahead)
        if issued.sent + issued.lifetime + behind + EPSILON < self._now():
            self._report("never 3: an expired token was served")
        if burials == seen.burials and self._is_dead(issued, seen):
            self._report(f"{self._how(seen)}logout: a token of the chain that it ended was served")

    def logs_out(self, process: int) -> None:
        """A process is told to forget everything."""
        seen, record = self.seen[process], content_of(self.server.record)
        seen.logouts += 1
        seen.unburied, seen.overtaken = True, False
        for client_id in (seen.current.client_id if seen.current else "", record.client_id if record else ""):
            self._bury(seen, client_id, self._newest_of(client_id))
        seen.current = None

    def _how(self, seen: Seen) -> str:
        """Return how it came about, for what is known of."""
        if seen.overtaken:
            return "overtaken: "
        return "same generation: " if seen.same_generation else "told the saver: " if seen.told_the_saver else ""

    def _with(self, refresh_token: str) -> list[Sent]:
        """Return the requests that have carried a refresh token."""
        return [each for each in self._sent if refresh_token and each.request.refresh_token == refresh_token]

    def _newest_of(self, client_id: str) -> int:
        return max((each.serial for each in self.issued.values() if each.client_id == client_id), default=0)

    def _bury(self, seen: Seen, client_id: str, serial: int) -> None:
        seen.burials += 1
        seen.dead[client_id] = max(seen.dead.get(client_id, 0), serial)
        if seen.current is not None and self._is_dead(seen.current, seen):
            seen.current = None

    def _is_dead(self, issued: Issued, seen: Seen) -> bool:
        return issued.serial <= seen.dead.get(issued.client_id, 0)
