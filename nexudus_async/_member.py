"""One of many sessions: it shares what it sends through, counts what is under way, and remembers what was used up."""

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from yarl import URL

from ._credentials import Credentials
from ._http.shared import Shared
from ._refresh.grants import grants_of
from ._refresh.tried import Tried
from ._session import TokenSession
from ._token import Token

if TYPE_CHECKING:
    from ._session import Response, WebSocket


class Closable(Protocol):
    """A response whose body can be read, or a WebSocket."""

    @property
    def closed(self) -> bool:
        """Whether it has come to its end, or was closed or released."""
        ...


class Done(NamedTuple):
    """What sessions have done: see `Statistics`."""

    sign_ins: int
    renewals: int
    failures: int


class Use:
    """Knows what is under way in one session. told: called when a call has begun or ended."""

    __slots__ = ("_calls", "_open", "told")

    def __init__(self) -> None:
        self._calls = 0
        self._open: list[weakref.ref[Closable]] = []
        self.told: Callable[[], None] | None = None

    @property
    def under_way(self) -> bool:
        """Whether there is a call, a body that is yet to be read, or an open WebSocket."""
        return self._calls > 0 or (bool(self._open) and self._still_open())

    def hold(self, opened: Closable) -> None:
        """Learn of something that goes on after its call."""
        if not opened.closed:
            self._still_open()
            self._open.append(weakref.ref(opened))

    def _still_open(self) -> bool:
        self._open = [each for each in self._open if (opened := each()) is not None and not opened.closed]
        return bool(self._open)

    def __enter__(self) -> None:
        self._calls += 1
        if self.told is not None:
            self.told()

    def __exit__(self, *_: object) -> None:
        self._calls -= 1
        if self.told is not None:
            self.told()


class Member(TokenSession):
    """A `TokenSession` that shares its connections, and what else there is, with others."""

    def __init__(self, shared: Shared, credentials: Credentials | None, **options: Any) -> None:
        self._shared = shared
        self.use = Use()
        self.last_used = 0.0
        """By the clock of `Members`."""
        self.ended: Callable[[], None] | None = None
        """Called when somebody has closed it."""
        super().__init__(credentials, **options)

    @property
    def in_use(self) -> bool:
        """Whether something is under way, or the store has yet to take its newest token."""
        coordinator = self._coordinator
        return self.use.under_way or coordinator.waiting is not None or coordinator.unsaved

    @property
    def tried(self) -> Tried:
        """What was handed over, and used."""
        return grants_of(self._source).tried

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            if self.closed and self.ended is not None:
                self.ended()

    def retire(self) -> None:
        """Serve nothing any more, at once: what begins before `close()` runs would be cut off by it."""
        self._coordinator.state.close()

    async def token(self) -> Token:
        with self.use:
            return await super().token()

    async def refresh(self) -> Token:
        with self.use:
            return await super().refresh()

    async def sign_in(self) -> Token:
        with self.use:
            return await super().sign_in()

    async def logout(self) -> None:
        with self.use:
            await super().logout()

    async def _request(self, method: str, url: str | URL, **kwargs: Any) -> "Response":
        with self.use:
            response = await super()._request(method, url, **kwargs)
            self.use.hold(response)
            return response

    async def _ws_connect(self, url: str | URL, **kwargs: Any) -> "WebSocket":
        with self.use:
            socket = await super()._ws_connect(url, **kwargs)
            self.use.hold(socket)
            return socket


def done_by(member: Member) -> Done:
    """Return what a session has done."""
    done = member.statistics()
    return Done(done.sign_ins, done.renewals, done.failures)


def sum_of(*done: Done) -> Done:
    """Return what several have done together."""
    return Done(*map(sum, zip(*done, strict=True)))
