"""What must never be sent by a fleet: every token request passes here.

What a process can know is what it has sent, been answered, and read from the store. Of a store that has lost its
records, gone back to older ones, or shows them late nobody can know what it has forgotten: that is forgiven.
"""

from collections.abc import Callable

from tests.simulation.chain import TokenRequest
from tests.simulation.pauses import EPSILON
from tests.simulation.service import Outcome

from .content import content_of
from .facts import Flight, Issued, Sent
from .history import History
from .store import LEASE

__all__ = ["Requests"]

OUTSIDER = -1
"""A process that is none of ours."""
REPLAY_WITHIN = 10.0
LONGEST_PAUSE = 3600.0 * 1.25
"""Seconds: what is longer was written by a host whose clock is wrong."""
LONGEST_LATCH = 3600.0
USED = (Outcome.DELIVERED, Outcome.REFUSED, Outcome.LOST, None)
"""How a request may have ended with which a refresh token may have been used: None while it is under way."""


class Requests:
    """The door of the service. report: called with what must never happen."""

    def __init__(self, history: History, report: Callable[[str], None]) -> None:
        self._history, self._report = history, report

    def sends(self, process: int, request: TokenRequest) -> Sent:
        """A token request leaves a process."""
        history = self._history
        flight = history.flight()
        blind = flight.failed and not history.seen[process].has_credentials
        own = request.refresh_token is not None and request.refresh_token not in history.shared
        sent = Sent(process, request, history.now(), blind, flight, own)
        if request.refresh_token is not None:
            self._check_refresh(sent, request.refresh_token)
        for other in history.sent:
            if other.request.outcome is None and other.request.client_id == request.client_id:
                self._check_overlap(sent, other)
        self._check_pause(sent)
        self._check_latch(sent)
        self._check_need(sent)
        history.sent.append(sent)
        return sent

    def ended(self, sent: Sent, document: dict[str, object] | None) -> None:
        """A token request is over. document: of the token that came, if one did."""
        history, request, seen = self._history, sent.request, self._history.seen[sent.process]
        if request.outcome is Outcome.REFUSED and "password" in request.form and b"two_factor" not in request.body:
            seen.refused_password = request.form["password"]
            seen.has_probed |= not sent.flight.failed
        if document is None:
            return
        access, refresh = str(document["access_token"]), str(document.get("refresh_token") or request.refresh_token)
        if refresh == request.refresh_token:  # not rotated: it is as good as new
            history.sent = [each for each in history.sent if each.request.refresh_token != refresh]
        lifetime = float(str(document.get("expires_in", 3600.0)))
        serial = int(access.rsplit("-", 1)[1])
        issued = history.issued[access] = Issued(
            serial, access, refresh, request.client_id, lifetime, sent.at, sent.process, sent.flight.began, sent.blind
        )
        if request.logouts == seen.logouts:
            seen.newest, seen.failed_since = issued, False
            life = history.life_of(issued, sent.process)
            if life > -EPSILON:
                seen.current = issued if life > EPSILON else None

    def of_an_outsider(self, client_id: str, refresh_token: str) -> None:
        """Somebody who is none of ours has used a refresh token, and was given another."""
        request = TokenRequest({"grant_type": "refresh_token", "refresh_token": refresh_token}, client_id)
        request.outcome, request.ended = Outcome.DELIVERED, self._history.now()
        now = self._history.now()
        self._history.sent.append(Sent(OUTSIDER, request, now, blind=False, flight=Flight(OUTSIDER, now)))

    def _check_overlap(self, sent: Sent, other: Sent) -> None:
        lost_at = self._history.server.lost_at
        if sent.process == other.process:
            self._report("never 1: a process sends two token requests at once")
        elif self._history.now() - other.flight.began >= LEASE:
            pass  # it has waited for two one-time codes, and the lock has ended
        elif not (sent.blind or other.blind or lost_at >= min(other.flight.began, sent.flight.began)):
            how = "own: " if other.own else ""
            self._report(f"{how}never 1: {sent.request.grant} while another process has one under way")

    def _check_refresh(self, sent: Sent, refresh_token: str) -> None:
        history = self._history
        seen, before = history.seen[sent.process], history.carrying(refresh_token)
        if refresh_token in history.shared and not sent.blind:
            self._check_agreed(sent, refresh_token)
        for each in before:
            self._check_again(sent, each, before)
        issued = history.issue_of(refresh_token)
        if issued is not None and history.is_dead(issued, seen):
            self._report(f"{history.how(issued)}logout: a refresh token of the chain that it ended is sent")

    def _check_agreed(self, sent: Sent, refresh_token: str) -> None:
        """What others have, too, is sent by one of them, who has told them."""
        history, how = self._history, self._wavers(refresh_token)
        server = history.server
        if sent.flight.failed:
            self._report(f"{how}never 1: a refresh token that others have is sent while the store is down")
        elif server.lost_at < 0 and not server.is_held_by(sent.process):
            self._report("never 1: a refresh token that others have is sent without the lock")
        content = content_of(server.record)
        noted = content is not None and content.refresh == refresh_token and content.in_doubt
        unsure = sent.flight.failed or max(server.lost_at + LEASE, server.lag_until) >= sent.flight.began
        if not (noted or unsure):
            issued = history.issue_of(refresh_token)
            same = content is not None and issued is not None and content.access == issued.access
            beside = same and content is not None and content.refresh not in ("", refresh_token)
            how = "beside: " if beside else "unreadable: " if content is not None and content.is_none else how
            self._report(f"{how}never 1: a refresh token that others have is sent, and not noted before")

    def _wavers(self, refresh_token: str) -> str:
        issued = self._history.issue_of(refresh_token)
        return "wavers: " if issued is not None and issued.wavers else ""

    def _check_again(self, sent: Sent, each: Sent, before: list[Sent]) -> None:
        """One request has carried the same refresh token before."""
        history, outcome, own = self._history, each.request.outcome, each.process == sent.process
        if outcome is Outcome.BROKEN and each.flight is sent.flight:
            self._report("never 1: a refresh token is sent again in the flight that met a broken service")
        if outcome not in USED or sent.blind or (each.blind and not own):
            return
        lost_its_lock = history.server.lost_at >= min(each.flight.began, sent.flight.began)
        if not own and (lost_its_lock or history.is_forgotten(each) or history.server.lag_until > each.at):
            return
        how = "" if own else "own: " if each.own else self._wavers(each.request.refresh_token or "")
        content, attended = sent.flight.loaded, history.seen[sent.process].attended
        if not own and attended and content is not None and content.in_doubt:
            return  # that is all that it can know, and there is no other way to a token
        if outcome in (Outcome.DELIVERED, Outcome.REFUSED):
            whose = "its own" if own else "another's"
            self._report(f"{how}never 1: a refresh token is sent again after it was {outcome.value}, {whose} request")
        elif attended:
            return
        elif not own:
            self._report(f"{how}never 1: a refresh token is sent whose answer another process has lost")
        elif len([one for one in before if one.process == sent.process and one.request.outcome in USED]) > 1:
            self._report("never 1: a refresh token is sent again after its one replay")
        elif sent.at - each.request.ended > REPLAY_WITHIN + EPSILON:
            self._report("never 1: a refresh token is replayed late")

    def _check_pause(self, sent: Sent) -> None:
        history, flight = self._history, sent.flight
        content = flight.loaded
        if content is None or flight.forced or flight.failed or not content.held_off_until:
            return
        left = content.held_off_until - history.wall(sent.process)
        if EPSILON < left < LONGEST_PAUSE and not (content.served and not history.lives(sent.process)):
            self._report(f"never 6: a request is sent though the fleet rests for another {left:.1f} s")

    def _check_latch(self, sent: Sent) -> None:
        """A password that was refused rests in all processes, but for the first that is started afterwards."""
        history, flight, seen = self._history, sent.flight, self._history.seen[sent.process]
        content = flight.loaded
        if content is None or flight.forced or flight.failed or not content.latched_until:
            return
        left = content.latched_until - history.wall(sent.process)
        if not EPSILON < left < LONGEST_LATCH or sent.request.form.get("password") != history.latched_password:
            return
        started_since = seen.started > content.latched_since
        if not (started_since and not content.probed and not seen.has_probed):
            self._report(f"never 6: a password that was refused is sent, and rests for another {left:.1f} s")

    def _check_need(self, sent: Sent) -> None:
        """Nothing is asked for that is in the store already."""
        history, content, process = self._history, sent.flight.loaded, sent.process
        seen = history.seen[process]
        issued = history.issued.get(content.access) if content is not None else None
        if content is None or issued is None or sent.flight.forced or sent.flight.failed or seen.logouts:
            return
        if history.has_forgotten:  # who has seen a logout that is not there any more takes what is newer for older
            return
        newer = content.generation > history.generation(process) and issued.access not in seen.rejected
        if newer and not history.is_dead(issued, seen) and history.life_of(issued, process) > EPSILON:
            self._report("never 1: a request is sent although the store has a newer token, which lives")
