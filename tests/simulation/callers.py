"""Those who use the session: they arrive, ask for a token or send a request, and time out or are cancelled."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import aiohttp

from nexudus_async import Token, TokenSession

from .api import ALLOWED, FOREIGN, ForeignSession, stream
from .book import Book
from .checks import Call, Checks
from .replays import Replays
from .sendings import OWN

__all__ = ["Callers"]

UNAUTHORIZED = 401
HERE = "https://spaces.nexudus.com"


class Callers:
    """All calls of one world. report: called with what must never happen. trace: with what happens.

    foreign: returns the session of somebody else's that has our middleware.
    """

    def __init__(
        self,
        session: TokenSession,
        foreign: Callable[[], ForeignSession],
        checks: Checks,
        book: Book,
        replays: Replays,
        chance: Random,
        report: Callable[[str], None],
        trace: Callable[..., None],
    ) -> None:
        self._session = session
        self._foreign = foreign
        self._checks = checks
        self._book = book
        self._replays = replays
        self._chance = chance
        self._report = report
        self._trace = trace
        self._calls: dict[asyncio.Task[None], Call] = {}
        self._tokens: list[Token] = []
        self._count = 0
        self.last_answer = ""
        self.asked_by_hand: Callable[[], None] = lambda: None

    @property
    def pending(self) -> list[asyncio.Task[None]]:
        return [task for task in self._calls if not task.done()]

    def present(self) -> Call:
        """Return the call that runs now; an empty one where none does."""
        task = asyncio.current_task()
        return (self._calls.get(task) if task is not None else None) or Call(0, "")

    def arrive(self, kind: str, deadline: float = 0.0, *, again: bool = False) -> asyncio.Task[None]:
        """Let a caller arrive; with `again` one that tries once more, at once, when it fails."""
        return self._start(Call(self._next(), kind, deadline), again=again)

    def reject(self, share: float) -> None:
        """Let a caller report the token that lies so far back among those it was given: 1 is the newest."""
        if self._tokens:
            token = self._tokens[int(share * (len(self._tokens) - 1) + 0.5)]
            self._start(Call(self._next(), "reject", rejects=token))

    def poll(self, times: int, pause: float) -> None:
        """Let a worker ask again and again for what is refused."""
        task = asyncio.get_running_loop().create_task(self._poll(times, pause))
        self._calls[task] = Call(self._next(), "poll")

    def cancel(self, share: float = 1.0) -> None:
        """Cancel a share of those who are waiting for something."""
        pending = self.pending
        for task in self._chance.sample(pending, int(share * len(pending))):
            self._calls[task].cancelled = True
            task.cancel()

    async def refresh(self) -> Token:
        """Call `refresh()` from the world's own task."""
        task = asyncio.current_task()
        assert task is not None
        self._calls[task] = Call(0, "refresh")
        self.asked_by_hand()
        try:
            return await self._session.refresh()
        finally:
            del self._calls[task]

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _start(self, call: Call, *, again: bool = False) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._run(call, again=again))
        self._calls[task] = call
        return task

    async def _poll(self, times: int, pause: float) -> None:
        for _ in range(times):
            self.arrive("denied")
            await asyncio.sleep(pause)

    async def _run(self, call: Call, *, again: bool) -> None:
        checks, ended = self._checks, "failed"
        checks.begins(call)
        try:
            async with asyncio.timeout(call.deadline or None):
                ended = await self._work(call)
        except asyncio.CancelledError:
            ended = "cancelled"
            if not call.cancelled:
                self._report(f"{call.kind} was cancelled, but nobody cancelled it")
        except TimeoutError:
            ended = "timed out"
            if not call.deadline:
                self._report(f"{call.kind} raised TimeoutError without a deadline")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is judged
            ended = type(error).__name__
            checks.raises(call, error)
        checks.ends(call)
        self._trace(call.kind, call.number, ended)
        if again and ended.endswith("Error"):
            self.arrive(call.kind, call.deadline)

    async def _work(self, call: Call) -> str:
        session, kind = self._session, call.kind
        if kind in ("token", "refresh", "reject"):
            if call.rejects is not None:
                self._book.reject(call.rejects.access_token)
                token = await session.manager.reject(call.rejects)
            else:
                if kind == "refresh":
                    self.asked_by_hand()
                token = await (session.token() if kind == "token" else session.refresh())
            self._checks.returns(call, token)
            if token is not None and token not in self._tokens[-3:]:
                self._tokens.append(token)
            return f"got {token.generation}" if token is not None else "got nothing"
        call.path = f"/denied/{call.number % 3}" if kind.startswith("denied") else "/ok"
        async with await self._request(call) as response:
            self._replays.answered(call, response.status)
            judged = response.status == UNAUTHORIZED and call.kind in ("get", "denied")
            if judged and self._checks.left_at_401(call):
                self._replays.left_at_401(call)
            self.last_answer = f"answered {response.status}"
        return self.last_answer

    def passes(self) -> None:
        """A middleware around ours begins a try."""
        call = self.present()
        if call.answers:
            self._replays.answered(call, call.answers[-1][0])
        call.passes()

    def _request(self, call: Call) -> Awaitable[aiohttp.ClientResponse]:
        session, foreign, path = self._session, self._foreign(), call.path
        elsewhere = FOREIGN[call.number % len(FOREIGN)]
        match call.kind:
            case "send":
                return session.post(path, data=stream())
            case "own":
                return session.get(path, headers={"Authorization": OWN})
            case "allowed":
                return session.get(ALLOWED + path)
            case "foreign":
                return session.get(elsewhere)
            case "hop" | "denied hop":
                return foreign.get(HERE + path)
            case "own hop":
                return foreign.get(HERE + path, OWN)
            case "send hop":
                return foreign.post(HERE + path)
            case "foreign hop":
                return foreign.get(elsewhere)
            case "patient hop":
                return foreign.get_patiently(HERE + path)
            case _:
                return session.get(path)
