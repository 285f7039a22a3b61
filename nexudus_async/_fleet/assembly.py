"""The parts of a fleet's refresher, put together. Whoever has no store need not import this room."""

import math
from collections.abc import Callable

from nexudus_async._events import Emitter
from nexudus_async._refresh.policy import RefreshPolicy
from nexudus_async._refresh.renewal import Asking
from nexudus_async._refresh.state import TokenState
from nexudus_async.errors import ConfigurationError
from nexudus_async.stores import TokenStore

from .access import StoreAccess
from .pauses import Pauses
from .renewal import FleetRefresher
from .storage import LOCK_MARGIN, Storage


def refresher_with(
    store: TokenStore,
    asking: Asking,
    state: TokenState,
    *,
    key: str,
    policy: RefreshPolicy,
    chance: Callable[[], float],
    emitter: Emitter,
) -> FleetRefresher:
    """Return the refresher of one process among those that share `store`.

    Raises `ConfigurationError` for a store whose lock may end before the refresh that it guards, and its save.
    """
    lock_time = _lock_time(store, policy)
    tried = asking.grants.tried
    access = StoreAccess(store, key=key, emitter=emitter, tried=tried)
    storage = Storage(access, state=state, policy=policy, chance=chance, tried=tried)
    return FleetRefresher(asking, storage, Pauses(asking, state.clock, chance), state.clock, lock_time)


def _lock_time(store: TokenStore, policy: RefreshPolicy) -> float:
    """Return the seconds of a lock in which the service may be asked: the rest is for the save."""
    lease, needed = getattr(store, "lease", None), policy.flight_deadline + LOCK_MARGIN
    if not isinstance(lease, int | float):
        return math.inf
    if lease < needed:
        raise ConfigurationError(
            f"the store's lease is {lease:g} s, and a refresh with its save may take {needed:g} s: two "
            "processes could refresh at once; give the store a longer lease, or the policy a shorter flight_deadline"
        )
    return lease - LOCK_MARGIN
