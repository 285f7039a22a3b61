"""One request on its way out and back: pacing, throttle, token, send.

And again, once after a 401, and as often as `Throttle` grants after a 409 or 429.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import aiohttp
from yarl import URL

from nexudus_async._events import Statistics, Throttled
from nexudus_async._ratelimit.gate import HELD_BACK, NEW, NOT_OURS, REPLAY, Gate, HeldBack, Place, holding
from nexudus_async._ratelimit.pacing import Pacer, Pacing
from nexudus_async._ratelimit.throttle import CONFLICT, TOO_MANY_REQUESTS, Patience, Throttle
from nexudus_async._token import Token
from nexudus_async.errors import NexudusAuthError

from .middleware import UNAUTHORIZED, BearerRule
from .request import Answer, Handshake, Sending, carried, release, status_of, with_token

if TYPE_CHECKING:
    from .aiohttp_internals import LooseHeaders

    WebSocket = aiohttp.ClientWebSocketResponse[bool]

__all__ = ["Dispatcher"]

_THROTTLED: Final = (CONFLICT, TOO_MANY_REQUESTS)
_NOTABLE: Final = (UNAUTHORIZED, *_THROTTLED)

_Answer = TypeVar("_Answer", bound=Answer)


class _Sendable(Protocol[_Answer]):
    """A `Sending` or a `Handshake`."""

    method: str
    target: URL
    options: dict[str, Any]

    async def send(self, token: Token) -> _Answer: ...
    def replayable_after(self, answer: _Answer, /) -> bool: ...
    def resume_at(self, held: HeldBack) -> None: ...


class Dispatcher:
    """Sends the requests of one session that carry its token."""

    def __init__(self, rule: BearerRule, throttle: Throttle | None, pacing: Pacing | None) -> None:
        self._rule, self._manager = rule, rule.manager
        self._throttle = throttle
        self._throttled = 0
        self.gate = Gate(rule.manager.clock)
        self.pacer = None
        if pacing is not None:
            manager = rule.manager
            self.pacer = Pacer(
                pacing, key=manager.key, clock=manager.clock, emit=manager.emit, hold=self.gate.pause_left
            )

    async def send(
        self,
        session: aiohttp.ClientSession,
        method: str,
        target: URL,
        headers: "LooseHeaders | None",
        options: dict[str, Any],
    ) -> aiohttp.ClientResponse:
        """Return the final answer, whatever its status."""
        if self.pacer is not None:
            await self._pace(method)
        token = self._manager.current()
        if token is None or self.gate.engaged or "middlewares" in options:
            sending = Sending(session, method, target, headers, options)
            return await self._persist(sending, *await self._send_in_turn(sending))
        # The way of nearly every request, without a `Sending`: this is the hot path.
        try:
            response = await session.request(
                method, target, headers=with_token(headers, token), raise_for_status=False, **options
            )
        except HeldBack as held:
            sending = Sending(session, method, target, headers, options)
            sending.resume_at(held)
            place = self.gate.place(HELD_BACK)
            return await self._persist(sending, *await self._send_in_turn(sending, place=place))
        if response.status not in _NOTABLE:
            return response
        return await self._persist(Sending(session, method, target, headers, options), response, token, None)

    async def connect(self, handshake: Handshake) -> "WebSocket":
        """Open a WebSocket. Raises aiohttp's error for a refusal that no replay has helped."""
        await self._pace(handshake.method)
        answer = await self._persist(handshake, *await self._send_in_turn(handshake))
        if isinstance(answer, aiohttp.ClientResponseError):
            raise answer
        return answer

    async def _pace(self, method: str) -> None:
        if self.pacer is not None:
            if self._manager.current() is None:  # or all whom the pace let go during a sign-in would go at once
                await self._manager.token()
            await self.pacer.wait(method)

    async def _persist(self, sending: _Sendable[_Answer], answer: _Answer, token: Token, turn: object) -> _Answer:
        """Replay as long as there is a reason to, and return the last answer."""
        renewed = unproven = False
        patience = None if self._throttle is None else Patience(self._throttle, self._manager.clock)
        while True:
            status = status_of(answer)
            pause = await self._judge(sending, answer, token, patience, turn)
            throttled = status in _THROTTLED and patience is not None and patience.asked is not None
            if unproven and not throttled:  # which would say nothing about the token
                unproven = False
                self._rule.replayed(token, sending.method, sending.target, status)
            if status == UNAUTHORIZED and not renewed:
                successor = self._successor(sending, token, answer)
                if successor is None:
                    return answer
                renewed = True
                release(answer)  # before the wait: its connection may be the last of the pool, its body endless
                answer, token, turn = await self._replay(sending, await successor())
                unproven = True
            elif pause is not None and sending.replayable_after(answer):
                release(answer)
                answer, token, turn = await self._replay(sending)
            else:
                return answer

    async def _judge(
        self, sending: _Sendable[_Answer], answer: _Answer, token: Token, patience: Patience | None, turn: object
    ) -> float | None:
        """Begin the pause that a throttled answer asks for, or give the turn to the next."""
        well, pause = True, None
        try:
            if (
                patience is not None
                and not isinstance(answer, aiohttp.ClientWebSocketResponse)
                and answer.status in _THROTTLED
                and carried(token, answer)
            ):
                well = False
                pause = await patience.pause_for(answer)
                well = patience.asked is None  # an ordinary conflict
                if pause is not None:
                    self._throttled += 1
                    self.gate.pause(pause)
                    self._tell(sending, answer.status, pause, patience.replays)
        except BaseException:  # cancelled while it read the words of a 429: nobody else knows of the answer
            if isinstance(answer, aiohttp.ClientResponse):
                answer.close()
            raise
        finally:
            self.gate.leave(turn, well=well)
        return pause

    async def _replay(self, sending: _Sendable[_Answer], token: Token | None = None) -> tuple[_Answer, Token, object]:
        if self.pacer is not None:  # a replay is a request like any other
            await self.pacer.wait(sending.method)
        return await self._send_in_turn(sending, token, self.gate.place(REPLAY))

    async def _send_in_turn(
        self, sending: _Sendable[_Answer], token: Token | None = None, place: Place | None = None
    ) -> tuple[_Answer, Token, object]:
        """Send, with `token` or after a wait the newest one, and return the turn that has to be given back.

        place: in the queue; by default behind all others.
        """
        gate = self.gate
        while True:
            turn = None
            if gate.engaged:
                place = place or gate.place(NEW)
                turn, token = await gate.enter(place), None
            try:
                token = token or self._manager.current() or await self._manager.token()
                if gate.admits(turn):  # no longer, if another pause has begun during one of these waits
                    # The caller's own middlewares may have begun something that cannot be begun again.
                    with holding(NOT_OURS if "middlewares" in sending.options else turn):
                        return await sending.send(token), token, turn
            except HeldBack as held:
                sending.resume_at(held)
            except BaseException as exc:
                gate.leave(turn, failed=isinstance(exc, Exception))
                raise
            place = place or gate.place(HELD_BACK)

    def added_to(self, statistics: Statistics) -> Statistics:
        """Return the statistics of the manager with what is known here."""
        queued = self.gate.waiting + (self.pacer.waiting if self.pacer is not None else 0)
        return replace(statistics, throttled=self._throttled, paused_for=self.gate.pause_left(), queued=queued)

    def close(self) -> None:
        """End every wait for the gate and for the pace."""
        self.gate.close()
        if self.pacer is not None:
            self.pacer.close()

    async def disconnect(self) -> None:
        """Close what is left open, after `close()`."""
        if self.pacer is not None:
            await self.pacer.disconnect()

    def _successor(
        self, sending: _Sendable[_Answer], token: Token, answer: _Answer
    ) -> Callable[[], Awaitable[Token]] | None:
        if not carried(token, answer):
            return None
        replayable = sending.replayable_after(answer)
        try:
            return self._rule.successor_after_401(token, sending.method, sending.target, replayable=replayable)
        except NexudusAuthError:
            if isinstance(answer, aiohttp.ClientResponse):
                answer.close()
            raise

    def _tell(self, sending: _Sendable[_Answer], status: int, pause: float, attempt: int) -> None:
        self._manager.emit(
            lambda: Throttled(
                status=status, wait=pause, attempt=attempt, method=sending.method, path=sending.target.raw_path
            )
        )
