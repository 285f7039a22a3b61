"""What must never be done to the record of a fleet: all that happens to the store passes here."""

from collections.abc import Callable

from tests.simulation.service import Outcome

from .content import Content, content_of
from .facts import Seen
from .history import History

__all__ = ["Records"]


class Records:
    """The door of the store. report: called with what must never happen."""

    def __init__(self, history: History, report: Callable[[str], None]) -> None:
        self._history, self._report = history, report

    def loaded(self, process: int, content: Content | None) -> None:
        """A process is given the record."""
        history = self._history
        seen = history.seen[process]
        seen.loaded = history.flight().loaded = content
        if content is None:
            return
        if content.is_tombstone and content.generation >= history.generation(process):
            seen.current = None  # if it is of a chain of its own, who knows
        if content.is_tombstone and content.generation in history.graves and not history.may_be_old:
            self._bury(seen, content.generation)

    def _bury(self, seen: Seen, generation: int) -> None:
        for client_id, serial in self._history.graves[generation].items():
            self._history.bury(seen, client_id, serial)

    def begins_to_save(self, process: int, content: Content) -> None:
        """A process gives the store a record. Is it what it knows?"""
        history = self._history
        issued, before = history.issued.get(content.access), content_of(history.server.record)
        if issued is None or content.in_doubt or (before is not None and before.access == content.access):
            return
        if issued.serial < history.newest_by(process, issued.client_id):
            self._report("never 2: a process saves a token that is older than the newest it was given")
        if any(
            each.process == process and each.request.outcome is Outcome.REFUSED
            for each in history.carrying(content.refresh)
        ):
            self._report("never 1: a refresh token is in the store as a good one by a process to which it was refused")

    def saved(self, process: int, before: Content | None, content: Content) -> None:
        """The store takes it."""
        history = self._history
        seen = history.seen[process]
        if before is not None and before.is_later and history.server.lag_until < history.now():
            self._report("a record of a later release is replaced")
        if content.is_tombstone:
            chains = (content.client_id, before.client_id if before is not None else "")
            history.graves[content.generation] = {each: history.newest_of(each) for each in chains}
            self._bury(seen, content.generation)
            seen.unburied = False
        if content.latched_since and (before is None or before.latched_since != content.latched_since):
            history.latched_password = seen.refused_password
        issued = history.issued.get(content.access)
        if issued is None:
            return
        history.shared.add(content.refresh)
        if not history.is_dead(issued, seen):
            seen.unburied = False
        server, now = history.server, history.now()
        newest = history.newest.get(issued.client_id, issued)
        sure = server.lag_until < now and server.lost_at < min(issued.began, newest.began)
        if sure and issued.serial < newest.serial and not issued.blind:
            self._report("an older token has replaced a newer one in the store")
        history.newest[issued.client_id] = issued
        ended = history.graves.get(before.generation, {}) if before is not None and before.is_tombstone else {}
        if issued.serial <= ended.get(issued.client_id, 0) and not history.may_be_old:
            self._report("logout: a token of the chain that it ended is in the store again")

    def does_not_confirm(self, content: Content) -> None:
        """A save has failed, and may have been carried out, or be some day."""
        if content.access in self._history.issued:
            self._history.issued[content.access].wavers = True

    def store_failed(self, process: int) -> None:
        """An operation of a process has failed."""
        self._history.flight().failed = self._history.seen[process].failed_since = True

    def given_up(self) -> None:
        """Whoever has begun an operation does not wait for its end."""
        self._history.flight().failed = True

    def heard_of(self, process: int, *, unsaved: bool) -> None:
        """A logout is in the store, or still to be saved there. unsaved: whether the process says so."""
        seen = self._history.seen[process]
        if seen.unburied and not unsaved:
            self._report("logout: neither has the store heard of it, nor is it still to be saved")
            seen.unburied = False

    def closed(self, process: int) -> None:
        """A process has closed its session, and had the time for it: is what it was given in the store?"""
        history = self._history
        seen = history.seen[process]
        newest = seen.newest
        record = content_of(history.server.record)
        if record is not None and record.is_later:
            return
        if newest is None or seen.failed_since or history.may_be_old or history.is_dead(newest, seen):
            return
        outranked = record is not None and record.generation >= history.generation(process)
        if newest.refresh not in history.shared and not outranked:
            self._report("never 2: a token has arrived before close(), and was not saved, though the store works")
