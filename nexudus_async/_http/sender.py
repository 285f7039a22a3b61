"""One request on its way out and back: pace, throttle, token, send.

And again, once after a 401, and as often as `Throttle` grants after a 409 or 429.
"""

import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import aiohttp
from yarl import URL

from nexudus_async._events import Statistics, Throttled
from nexudus_async._manager import TokenManager, coordinator_of
from nexudus_async._ratelimit.adaptive_rate import UNPACED
from nexudus_async._ratelimit.fields import remaining_in
from nexudus_async._ratelimit.gate import HELD_BACK, NEW, NOT_OURS, REPLAY, Gate, HeldBack, Place, holding
from nexudus_async._ratelimit.limits import Limits
from nexudus_async._ratelimit.pacing import WRITES, Pacer, Pacing
from nexudus_async._ratelimit.retry_after import THROTTLED
from nexudus_async._ratelimit.throttle import Patience, Throttle
from nexudus_async._token import Token
from nexudus_async.errors import NexudusAuthError

from .aiohttp_internals import let_stream
from .request import Answer, Handshake, Sending, carried, discard, release, status_of, with_token
from .tracebacks import hide_what_was_sent
from .unauthorized import UNAUTHORIZED, Replay, Unauthorized
from .waits import Waits

if TYPE_CHECKING:
    from .aiohttp_internals import LooseHeaders

    WebSocket = aiohttp.ClientWebSocketResponse[bool]

_NOTABLE: Final = (UNAUTHORIZED, *THROTTLED)
"""The statuses after which a request may be sent again."""

_Answer = TypeVar("_Answer", bound=Answer)


class _Sendable(Protocol[_Answer]):
    """A `Sending` or a `Handshake`."""

    method: str
    target: URL
    options: dict[str, Any]

    async def send(self, token: Token) -> _Answer: ...
    def replayable_after(self, answer: _Answer, /) -> bool: ...
    def resume_at(self, held: HeldBack) -> None: ...


class Sender:
    """Sends the requests of one session that carry its token.

    shared: limits that other sessions go by as well, and that are not closed here. None: the session has its own.
    """

    def __init__(
        self,
        manager: TokenManager,
        unauthorized: Unauthorized,
        throttle: Throttle | None,
        pacing: Pacing | None,
        shared: Limits | None = None,
    ) -> None:
        self._coordinator = coordinator = coordinator_of(manager)
        self._manager, self._unauthorized = manager, unauthorized
        self._state, self._clock, self._emit = coordinator.state, coordinator.state.clock, coordinator.emitter.emit
        self._throttled = 0
        self._own_limits = None
        limits = shared
        if limits is None:
            limits = Limits(throttle, pacing, key=coordinator.key, clock=self._clock, emitter=coordinator.emitter)
            self._own_limits = limits
        self._throttle, self.gate, self.pacer = limits.throttle, limits.gate, limits.pacer
        self._waits = Waits()

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
        handled = sys.exception()
        try:
            response = await session.request(
                method, target, headers=with_token(headers, token), raise_for_status=False, **options
            )
        except HeldBack as held:
            sending = Sending(session, method, target, headers, options)
            sending.resume_at(held)
        except BaseException as exc:
            hide_what_was_sent(exc, handled)
            raise
        else:
            if response.status not in _NOTABLE:
                if token is not self._state.proven and carried(token, response):
                    self._unauthorized.accepted(token, response.status)
                return response
            return await self._persist(Sending(session, method, target, headers, options), response, token, UNPACED)
        # Not above, or being held back would be the context of whatever comes of it.
        place = self.gate.place(HELD_BACK, write=sending.method in WRITES)
        return await self._persist(sending, *await self._send_in_turn(sending, place))

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
                await self._coordinator.token_to_send()
            await self._wait_for_pace(self.pacer, method)

    async def _persist(self, sending: _Sendable[_Answer], answer: _Answer, token: Token, ticket: float) -> _Answer:
        """Replay as long as there is a reason to, and return the last answer."""
        replay: Replay | None = None
        replayed = False
        patience = None if self._throttle is None else Patience(self._throttle, self._clock)
        while True:
            status = status_of(answer)
            if status not in _NOTABLE and token is not self._state.proven and carried(token, answer):
                self._unauthorized.accepted(token, status)
            pause = await self._judge(sending, answer, token, patience, ticket)
            throttled = status in THROTTLED and patience is not None and patience.asked is not None
            if replay is not None and not throttled:  # which would say nothing about the token
                replay.answered(token, status)
                replay = None
            if status == UNAUTHORIZED and not replayed:
                replay = self._replay_of(sending, token, answer)
                if replay is None:
                    return answer
                replayed = True
                release(answer)  # before the wait: its connection may be the last of the pool, its body endless
                await replay.token()
                answer, token, ticket = await self._send_again(sending, patience, 0.0)
            elif pause is not None and sending.replayable_after(answer):
                release(answer)
                answer, token, ticket = await self._send_again(sending, patience, pause)
            else:
                return answer

    async def _judge(
        self, sending: _Sendable[_Answer], answer: _Answer, token: Token, patience: Patience | None, ticket: float
    ) -> float | None:
        """Tell the gate what came of its ticket, and return the seconds that a throttled request waits."""
        gate, write = self.gate, sending.method in WRITES
        if patience is None or isinstance(answer, aiohttp.ClientWebSocketResponse) or not carried(token, answer):
            gate.served(ticket, write=write)
            return None
        if answer.status not in THROTTLED:
            gate.served(ticket, write=write)
            pause = None
        else:
            pause = await self._weigh(sending, answer, patience, ticket)
        if gate.engaged:
            gate.told(remaining_in(answer.headers or {}, self._clock.wall()), write=write)
        return pause

    async def _weigh(
        self,
        sending: _Sendable[_Answer],
        answer: aiohttp.ClientResponse | aiohttp.ClientResponseError,
        patience: Patience,
        ticket: float,
    ) -> float | None:
        """Tell the gate of a 409 or 429, and return the seconds that it waits; None where it is the caller's."""
        gate, write = self.gate, sending.method in WRITES
        try:
            pause = await patience.pause_for(answer)
        except BaseException:  # cancelled while it read the words of a 429: nobody else knows of the answer
            discard(answer)
            gate.released(ticket, write=write)
            raise
        if patience.body is not None and isinstance(answer, aiohttp.ClientResponse):
            let_stream(answer, patience.body)  # the caller may read it so
        if patience.asked is None:  # an ordinary conflict
            gate.served(ticket, write=write)
        elif pause is not None:
            self._throttled += 1
            gate.throttled(ticket, patience.named, write=write)
            self._tell(sending, answer.status, pause, patience.replays)
        elif patience.spent and gate.engaged:  # it is the caller's: what it asks for holds nobody
            gate.throttled(ticket, None, write=write)
        else:
            gate.released(ticket, write=write)
        return pause

    def _replay_of(self, sending: _Sendable[_Answer], token: Token, answer: _Answer) -> Replay | None:
        replayable = sending.replayable_after(answer)
        try:
            return self._unauthorized.replay_of(
                token, sending.method, sending.target, carried=carried(token, answer), replayable=replayable
            )
        except BaseException:  # nobody will read it
            discard(answer)
            raise

    async def _send_again(
        self, sending: _Sendable[_Answer], patience: Patience | None, wait: float
    ) -> tuple[_Answer, Token, float]:
        """Send a replay. wait: seconds that it waits in any case."""
        replays = 0 if patience is None else patience.last_ones
        place = self.gate.place(REPLAY, write=sending.method in WRITES, wait=wait, replays=replays)
        if self.pacer is not None:  # a replay is a request like any other
            await self._wait_for_pace(self.pacer, sending.method)
        return await self._send_in_turn(sending, place)

    async def _send_in_turn(
        self, sending: _Sendable[_Answer], place: Place | None = None
    ) -> tuple[_Answer, Token, float]:
        """Send with the newest token, and return the ticket whose outcome the gate is to learn.

        place: in the queue; by default behind all others.
        """
        gate, write = self.gate, sending.method in WRITES
        while True:
            ticket = UNPACED
            if gate.engaged:
                if self._manager.current() is None:  # or those who have had their turn would all wait, and go at once
                    await self._coordinator.token_to_send()
                place = place or gate.place(NEW, write=write)
                ticket = await self._pass(gate, place)
            try:
                token = self._manager.current() or await self._coordinator.token_to_send()
                if gate.admits(ticket):  # no longer, if another pause has begun during one of these waits
                    # The caller's own middlewares may have begun something that cannot be begun again.
                    with holding(NOT_OURS if "middlewares" in sending.options else ticket):
                        return await sending.send(token), token, ticket
                gate.released(ticket, write=write)
            except HeldBack as held:
                gate.released(ticket, write=write)
                sending.resume_at(held)
                write = sending.method in WRITES  # a redirect may have made a GET of it
                place = place and place._replace(write=write)
            except BaseException as exc:
                unsent = isinstance(exc, NexudusAuthError)  # there was no token: that says nothing about the API
                gate.released(ticket, write=write, failed=isinstance(exc, Exception) and not unsent)
                raise
            place = place or gate.place(HELD_BACK, write=write)

    def added_to(self, statistics: Statistics) -> Statistics:
        """Return the statistics of the manager with what is known here."""
        queued = self.gate.waiting + (self.pacer.waiting if self.pacer is not None else 0)
        gate = self.gate
        return replace(
            statistics, throttled=self._throttled, paused_for=gate.pause_left(), queued=queued, rate=gate.rate
        )

    def close(self) -> None:
        """End every wait for the gate and for the pace."""
        self._waits.close()
        if self._own_limits is not None:
            self._own_limits.close()

    async def disconnect(self) -> None:
        """Close what is left open, after `close()`."""
        if self._own_limits is not None:
            await self._own_limits.disconnect()

    async def _wait_for_pace(self, pacer: Pacer, method: str) -> None:
        if self._own_limits is not None:
            await pacer.wait(method)
        else:
            await self._waits.until_closed(pacer.wait(method), lambda _: None)

    async def _pass(self, gate: Gate, place: Place) -> float:
        if self._own_limits is not None:
            return await gate.enter(place)
        return await self._waits.until_closed(gate.enter(place), partial(gate.released, write=place.write))

    def _tell(self, sending: _Sendable[_Answer], status: int, pause: float, attempt: int) -> None:
        self._emit(
            lambda: Throttled(
                status=status, wait=pause, attempt=attempt, method=sending.method, path=sending.target.raw_path
            )
        )
