"""One request on its way out and back: pacing, throttle, token, send.

And again, once after a 401, and as often as `Throttle` grants after a 409 or 429.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from ._bearer import AUTHORIZATION, UNAUTHORIZED, BearerRule
from ._events import Throttled
from ._pacing import Pacer, Pacing
from ._replay import can_be_sent_again
from ._throttle import CONFLICT, TOO_MANY_REQUESTS, Gate, Patience, Throttle
from ._token import Token
from .errors import NexudusAuthError

if TYPE_CHECKING:
    from aiohttp.typedefs import LooseHeaders

__all__ = ["Dispatcher", "Sending", "carried", "with_token"]

_NOTABLE: Final = (UNAUTHORIZED, CONFLICT, TOO_MANY_REQUESTS)
_REPLAYED_AFTER_REDIRECT: Final = ("GET", "HEAD", "OPTIONS")
"""Of a redirected write nobody knows which hop has acted on it."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A request that can be sent with any token."""

    session: aiohttp.ClientSession
    method: str
    target: URL
    headers: "LooseHeaders | None"
    options: Mapping[str, Any]

    async def send(self, token: Token) -> aiohttp.ClientResponse:
        """Send it."""
        headers = with_token(self.headers, token)
        return await self.session.request(
            self.method, self.target, headers=headers, raise_for_status=False, **self.options
        )

    def replayable_after(self, response: aiohttp.ClientResponse) -> bool:
        """Tell whether it can be sent again after this answer."""
        return can_be_sent_again(self.options) and (not response.history or self.method in _REPLAYED_AFTER_REDIRECT)


class Dispatcher:
    """Sends the requests of one session that carry its token."""

    def __init__(self, rule: BearerRule, throttle: Throttle | None, pacing: Pacing | None) -> None:
        self._rule, self._manager = rule, rule.manager
        self._throttle = throttle
        self.pacer = None if pacing is None else Pacer(pacing, rule.manager.key, rule.manager.clock)
        self.gate = Gate(rule.manager.clock)

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
            if self._manager.current() is None:  # or all whom the pace let go during a sign-in would go at once
                await self._manager.token()
            await self.pacer.wait(method)
        if self.gate.engaged:
            sending = Sending(session, method, target, headers, options)
            return await self._persist(sending, *await self._send_in_turn(sending, first=False))
        # The way of nearly every request, without a `Sending`: this is the hot path.
        token = self._manager.current() or await self._manager.token()
        response = await session.request(
            method, target, headers=with_token(headers, token), raise_for_status=False, **options
        )
        if response.status not in _NOTABLE:
            return response
        return await self._persist(Sending(session, method, target, headers, options), response, token, False)

    async def _persist(
        self, sending: Sending, response: aiohttp.ClientResponse, token: Token, in_turn: bool
    ) -> aiohttp.ClientResponse:
        """Replay as long as there is a reason to, and return the last answer."""
        renewed = False
        patience = None if self._throttle is None else Patience(self._throttle, self._manager.clock)
        while True:
            pause = await self._judge(sending, response, patience, in_turn)
            if response.status == UNAUTHORIZED and not renewed:
                successor = self._successor(sending, token, response)
                if successor is None:
                    return response
                renewed = True
                response.release()  # before the wait: its connection may be the last of the pool, its body endless
                token = await successor()
                response, token, in_turn = await self._send_in_turn(sending, first=True, token=token)
                self._rule.replayed(token, sending.method, sending.target, response.status)
            elif pause is not None and sending.replayable_after(response):
                response.release()
                response, token, in_turn = await self._send_in_turn(sending, first=True)
            else:
                return response

    async def _judge(
        self, sending: Sending, response: aiohttp.ClientResponse, patience: Patience | None, in_turn: bool
    ) -> float | None:
        """Begin the pause that a throttled answer asks for, and only then give the place at the gate to the next."""
        throttled, pause = response.status in (CONFLICT, TOO_MANY_REQUESTS), None
        try:
            if throttled and patience is not None:
                pause = await patience.pause_for(response)
            if pause is not None and patience is not None:
                self.gate.pause(pause)
                self._tell(sending, response.status, pause, patience.replays)
        finally:
            if in_turn:
                self.gate.leave(well=not throttled)
        return pause

    async def _send_in_turn(
        self, sending: Sending, *, first: bool, token: Token | None = None
    ) -> tuple[aiohttp.ClientResponse, Token, bool]:
        """Send, with `token` or after a wait the newest one; tell whether a place at the gate has to be given back."""
        gate = self.gate
        if self.pacer is not None and first:  # a replay is a request like any other
            await self.pacer.wait(sending.method)
        if not gate.engaged:
            token = token or self._manager.current() or await self._manager.token()
            return await sending.send(token), token, False
        await gate.enter(first=first)
        try:
            token = self._manager.current() or await self._manager.token()
            return await sending.send(token), token, True
        except BaseException:
            gate.leave(well=False)
            raise

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
        self, sending: Sending, token: Token, response: aiohttp.ClientResponse
    ) -> Callable[[], Awaitable[Token]] | None:
        if not carried(token, response):
            return None
        replayable = sending.replayable_after(response)
        try:
            return self._rule.successor_after_401(token, sending.method, sending.target, replayable=replayable)
        except NexudusAuthError:
            response.close()
            raise

    def _tell(self, sending: Sending, status: int, pause: float, attempt: int) -> None:
        self._manager.emit(
            lambda: Throttled(
                status=status, wait=pause, attempt=attempt, method=sending.method, path=sending.target.raw_path
            )
        )


def with_token(headers: "LooseHeaders | None", token: Token) -> "LooseHeaders":
    """Return the headers to send; the caller's own are never changed."""
    if headers is None:
        return {AUTHORIZATION: token.authorization}
    merged = CIMultiDict(headers)
    merged[AUTHORIZATION] = token.authorization
    return merged


def carried(token: Token, answer: aiohttp.ClientResponse | aiohttp.ClientResponseError) -> bool:
    """Tell whether our header was on the hop that answered: aiohttp strips it where a redirect changes the origin."""
    return not answer.history or answer.request_info.headers.get(AUTHORIZATION) == token.authorization
