"""All that is emulated, without a socket: users, tokens, records, limits, faults; and how it goes back to its start."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from nexudus_async._clock import Clock

from ._accounts import Accounts, User
from ._api import builtin_handlers
from ._clock import ShiftedClock
from ._coworkers import Coworkers, default_coworkers
from ._faults import Planned
from ._grants import Grants
from ._limits import Limits, Throttler
from ._links import Links
from ._records import Served
from ._routing import Route
from ._service import Service
from ._settings import Settings


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    users: list[tuple[User, dict[str, Any]]]
    coworkers: list[dict[str, Any]]
    faults: list[Planned]
    settings: Settings
    limits: Limits


class World:
    """The parts of an emulator, wired together. `clock` is the service's own, which can be moved on."""

    def __init__(
        self, clock: Clock, settings: Settings, limits: Limits, on_request: Callable[[Served], None] | None
    ) -> None:
        self.clock: ShiftedClock = ShiftedClock(clock)
        self.settings = settings
        self.accounts: Accounts = Accounts(self.clock)
        self.grants: Grants = Grants(self.accounts, settings)
        self.links: Links = Links(self.accounts, self.grants, self.clock)
        self.throttler: Throttler = Throttler(limits, self.clock)
        self.coworkers: Coworkers = Coworkers(default_coworkers(self.clock.wall()), self.clock, settings)
        self.service: Service = Service(
            self.clock, self.accounts, self.grants, self.throttler, settings=settings, on_request=on_request
        )
        self._checkpoint: _Checkpoint | None = None
        for handlers, authenticated in (
            (builtin_handlers(self.accounts), True),
            (self.coworkers.handlers(), True),
            (self.links.handlers(), True),
            (self.links.open_handlers(), False),
        ):
            for (method, path), handler in handlers.items():
                self.service.routes.add(method, path, Route(handler, authenticated))

    def checkpoint(self) -> None:
        """Remember users, coworkers, waiting faults and settings as they are now, for `reset`."""
        self._checkpoint = _Checkpoint(
            users=[(user, _values(user)) for user in self.accounts.users()],
            coworkers=copy.deepcopy(self.coworkers.records),
            faults=[replace(entry) for entry in self.service.faults.waiting()],
            settings=replace(self.settings),
            limits=self.throttler.limits,
        )

    def reset(self) -> None:
        """Go back to the checkpoint; end every session, forget every request, let the clock show the time it is."""
        start = self._checkpoint
        assert start is not None  # made when the emulator was
        for user in self.accounts.users():
            self.accounts.remove(user)  # and its sessions with it
        for user, values in start.users:
            _restore(user, values)
            self.accounts.add(user)
        self.coworkers.records[:] = copy.deepcopy(start.coworkers)
        _restore(self.settings, _values(start.settings))
        self.throttler.limits = start.limits
        self.throttler.clear()
        self.links.forget()
        self.clock.reset()
        self.service.faults.clear()
        for entry in start.faults:
            self.service.faults.add(entry.where, entry.fault, entry.times, entry.hold)
        self.reset_record()

    def reset_record(self) -> None:
        """Forget the requests and the counts."""
        self.service.log.clear()
        self.grants.reset_counts()
        self.service.token_gauge.reset()
        self.service.refresh_gauge.reset()


def _values(thing: User | Settings) -> dict[str, Any]:
    return {each.name: getattr(thing, each.name) for each in fields(thing)}


def _restore(thing: User | Settings, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(thing, name, value)
