"""What a test sets: users, tokens, the clock, limits, routes, and what goes wrong."""

import os
from collections.abc import Mapping
from typing import Any

from ._accounts import TokenPair, User
from ._described import change_settings
from ._faults import Fault, FaultPlan, Hold
from ._grants import client_id_of
from ._limits import Limits
from ._masking import shown
from ._observed import Observed
from ._one_time import JWT_LIFETIME
from ._routing import Handler, Route
from ._seed import read_seed
from ._settings import Settings
from ._totp import totp_code
from ._world import World

_NAMED = 10  # users that a message names; a seed may have thousands


class Steered(Observed):
    """Everything about the emulated service that can be changed while it runs."""

    def __init__(self, world: World, first_user: User) -> None:
        super().__init__(world)
        self._first_user = world.accounts.add(first_user)

    # -- users ---------------------------------------------------------------------------------------------------

    @property
    def user(self) -> User:
        """The user that is meant where none is named: the one that exists from the start, or was set.

        Whoever has replaced it stands for it; once it was removed, the first of those that there are.
        """
        first = self._first_user
        return self._world.accounts.find(first.username) or next(iter(self.users), first)

    @user.setter
    def user(self, user: User) -> None:
        self._first_user = user

    @property
    def username(self) -> str:
        """The name of `user`."""
        return self.user.username

    @property
    def password(self) -> str:
        """The password of `user` as it is now."""
        return self.user.password

    @property
    def users(self) -> list[User]:
        """All users; their attributes may be changed."""
        return self._world.accounts.users()

    @property
    def coworkers(self) -> list[dict[str, Any]]:
        """The records behind `/api/spaces/coworkers`; the list and the records may be changed."""
        return self._world.coworkers.records

    def add_user(
        self,
        username: str,
        password: str,
        *,
        totp_secret: str | None = None,
        suspended: bool = False,
        must_reset: bool = False,
        sso_only: bool = False,
        admin: bool = False,
    ) -> User:
        """Add a user, or replace the one of that name, and return it. Its attributes may be changed at any time."""
        user = User(username, password, totp_secret, suspended, must_reset, sso_only=sso_only, admin=admin)
        return self._world.accounts.add(user)

    def find_user(self, username: str) -> User:
        """Return the user of that name, whatever its case. Raises `LookupError` when there is none."""
        user = self._world.accounts.find(username)
        if user is None:
            raise LookupError(f"no user is called {shown(username)}; {self._who_there_is()}")
        return user

    def _who_there_is(self) -> str:
        names = [user.username for user in self.users]
        if not names:
            return "there are no users: add one first"
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return f"there {'are' if len(names) > 1 else 'is'} {', '.join(names[:_NAMED])}{more}"

    def remove_user(self, username: str) -> None:
        """End a user's sessions and forget it. Raises `LookupError` when there is none."""
        self._world.accounts.remove(self.find_user(username))

    def change_password(self, username: str, password: str) -> None:
        """Set a password as a reset does: every session of the account ends, and nothing must be reset any more.

        To change it and let the sessions live, set `password` of the user.
        """
        user = self.find_user(username)
        user.password, user.must_reset, user.invalid_login_attempts = password, False, 0
        self.revoke_all(user.username)

    def totp_code(self, username: str | None = None) -> str:
        """Return the code that the authenticator app of a user shows now. Raises `LookupError` when there is none."""
        user = self.find_user(username or self.username)
        if user.totp_secret is None:
            raise LookupError(f"{user.username} has no two-factor secret")
        return totp_code(user.totp_secret, self._world.clock.wall())

    # -- tokens --------------------------------------------------------------------------------------------------

    def issue(
        self, user: User | str | None = None, *, client_id: str | None = None, lifetime: float | None = None
    ) -> TokenPair:
        """Return a pair of tokens as a sign-in would, without a request, and so without a trace in the record.

        user: a user or its name; None for the first one. client_id: None for the user's e-mail, as where a client
        sends none. lifetime: seconds that the access token lives; None for the usual. As with a sign-in, the refresh
        token that `client_id` had dies.
        """
        owner = self._owner(user)
        life = self.lifetime if lifetime is None else lifetime
        return self._world.accounts.issue(owner, client_id_of(owner, client_id), life)

    def one_time_jwt(self, user: User | str | None = None, *, lifetime: float = JWT_LIFETIME) -> str:
        """Return what a magic link carries: a JWT that `POST /api/sys/users/exchange` takes once.

        user: as for `issue`. lifetime: seconds until the exchange refuses it.
        """
        return self._world.links.mint(self._owner(user), lifetime)

    def revoke_access_tokens(self, username: str | None = None) -> None:
        """Let the access tokens of one user, or of all, be refused from now on."""
        self._world.accounts.revoke_access_tokens(username)

    def revoke_refresh_tokens(self, username: str | None = None) -> None:
        """Let the refresh tokens of one user, or of all, be refused from now on."""
        self._world.accounts.revoke_refresh_tokens(username)

    def revoke_all(self, username: str | None = None) -> None:
        """Let all tokens of one user, or of everybody, be refused from now on."""
        self.revoke_access_tokens(username)
        self.revoke_refresh_tokens(username)

    def _owner(self, user: User | str | None) -> User:
        return user if isinstance(user, User) else self.find_user(user or self.username)

    # -- behaviour -----------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """How the service behaves; its attributes may be changed."""
        return self._world.settings

    @property
    def lifetime(self) -> float:
        """Seconds that the next access tokens live."""
        return self.settings.lifetime

    @lifetime.setter
    def lifetime(self, seconds: float) -> None:
        self.settings.lifetime = seconds

    @property
    def enforce_limits(self) -> bool:
        """Whether requests beyond `limits` are refused."""
        return self.settings.enforce_limits

    @enforce_limits.setter
    def enforce_limits(self, value: bool) -> None:
        self.settings.enforce_limits = value

    @property
    def limits(self) -> Limits:
        """How many requests a client may send while `enforce_limits` is on. What was counted under a rate stays."""
        return self._world.throttler.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._world.throttler.limits = limits

    def advance(self, seconds: float) -> None:
        """Move the service's clock on, and no other: tokens age, limits refill. Raises `ValueError` for a negative."""
        self._world.clock.advance(seconds)

    def route(self, method: str, path: str, handler: Handler, *, authenticated: bool = True) -> None:
        """Answer `method`, "*" for every one, at `path` by `handler`, in place of what was there.

        path: exact, or with names for single segments, `/api/spaces/bookings/{Id}`; the handler finds their values in
            `request.match_info`. An exact path comes before one with names, a later before an earlier.
        authenticated: refuse with 401 before the handler is called when the bearer is missing or dead.
        """
        self._world.service.routes.add(method.upper(), path, Route(handler, authenticated))

    @property
    def faults(self) -> FaultPlan:
        """The faults that wait for their request."""
        return self._world.service.faults

    def fail(self, where: str, fault: Fault, times: int | None = 1) -> None:
        """Let `fault` happen to the next `times` requests to `where`; with None to every one.

        where: "token", a path (with names for segments, as a route's), or "*" for every path but the token endpoint's.
        Earlier faults come first.
        """
        self.faults.add(where, fault, times)

    def hold(self, where: str, *, times: int | None = None, fault: Fault | None = None) -> Hold:
        """Hold the answers of requests to `where` until `release()`. Then `fault`, if given, happens to them.

        By default the request is processed when it arrives; with `fault=Fault(applied=False)` after the release.
        """
        hold = Hold()
        self.faults.add(where, hold.holding(fault or Fault()), times, hold)
        return hold

    def checkpoint(self) -> None:
        """Let `reset()` come back to what is now: users, coworkers, waiting faults, settings, limits."""
        self._world.checkpoint()

    def reset(self) -> None:
        """Go back to the latest checkpoint, at first the moment of `start()`: what a suite does between two tests.

        Every session ends, the record is empty, the clock shows the time it is. Routes stay.
        """
        self._world.reset()

    def load_seed(self, seed: Mapping[str, Any] | str | os.PathLike[str]) -> None:
        """Add what a JSON file, or a mapping of its form, describes; `nexudus_async.testing.SEED_HELP` has the form.

        Raises `ValueError` that says what to write instead; then nothing was added. `OSError` for no such file.
        """
        found = read_seed(seed)
        plan = FaultPlan()
        for fault in found.faults:
            plan.add(*fault)  # raises for one that would never strike, before anything is changed
        self.limits = change_settings(found.settings, self.settings, self.limits)
        for user in found.users:
            self._world.accounts.add(user)
        if found.coworkers is not None:
            self.coworkers[:] = found.coworkers
        for fault in found.faults:
            self.faults.add(*fault)
