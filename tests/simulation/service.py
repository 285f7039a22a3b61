"""A Nexudus without a network: accounts, tokens, and a queue of things that go wrong. It knows nothing of the client.

Whatever must not be printed contains `SECRET`, so that one search finds it wherever it turns up.
"""

import json
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from enum import Enum

from .loop import START_WALL

__all__ = ["FAULTS", "SECRET", "Answer", "Fault", "Outcome", "Service"]

SECRET = "s3cr3t"
REFRESH_TOKEN_LIFETIME = 15 * 86_400.0
TOTP_STEP = 30.0
TYPED_CODE = f"typed-{SECRET}"


class Outcome(Enum):
    """What the client can know of a token request when it is over; the rows of the table in `_endpoint.py`."""

    NOT_SENT = "not sent"
    THROTTLED = "throttled"
    BROKEN = "answered by a service in trouble"
    LOST = "answer lost"
    REFUSED = "refused"
    DELIVERED = "delivered"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with one token request.

    outcome: what it amounts to; None: what the service's own answer does.
    processed: how often the service acts on the request. answer_of: which of the answers the client gets.
    breaks: how the exchange ends instead of an answer: connect, timeout, drop, reset, truncate.
    members, without: changes to the service's own answer. seconds: of delay, or of `Retry-After`.
    """

    outcome: Outcome | None = None
    processed: int = 1
    answer_of: int = 0
    breaks: str = ""
    status: int = 0
    body: str = ""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    members: Mapping[str, object] = field(default_factory=dict[str, object])
    without: tuple[str, ...] = ()
    delay_before: float = 0.0
    delay_after: float = 0.0
    retry_after: float | None = None


def _altered(outcome: Outcome | None = Outcome.LOST, **members: object) -> Fault:
    return Fault(outcome, members=members)


_ERROR = json.dumps({"error": "invalid_grant"})
_RESET = json.dumps({"error": "must_reset_password", "error_description": f"reset-{SECRET}"})
_HTML = "<!doctype html><title>Portal</title>"
_THROTTLED = Fault(Outcome.THROTTLED, processed=0, status=409)

FAULTS: dict[str, Fault] = {
    "refused connection": Fault(Outcome.NOT_SENT, processed=0, breaks="connect"),
    "connect timeout": Fault(Outcome.NOT_SENT, processed=0, breaks="timeout"),
    "dropped before": Fault(Outcome.LOST, processed=0, breaks="drop"),
    "dropped after": Fault(Outcome.LOST, breaks="drop"),
    "reset after": Fault(Outcome.LOST, breaks="reset"),
    "truncated": Fault(Outcome.LOST, breaks="truncate"),
    "garbage": Fault(Outcome.LOST, status=200, body="}{"),
    "not an object": Fault(Outcome.LOST, status=200, body="[]"),
    "html 200": Fault(Outcome.BROKEN, processed=0, status=200, body=_HTML, content_type="text/html"),
    "504 after": Fault(Outcome.LOST, status=504),
    "html 502": Fault(Outcome.LOST, processed=0, status=502, body=_HTML, content_type="text/html"),
    "500 before": Fault(Outcome.BROKEN, processed=0, status=500),
    "500 after": Fault(Outcome.BROKEN, status=500),
    "401 without a word": Fault(Outcome.LOST, status=401),
    "html 403": Fault(Outcome.LOST, processed=0, status=403, body=_HTML, content_type="text/html"),
    "503": Fault(Outcome.BROKEN, processed=0, status=503),
    "409": _THROTTLED,
    "429": replace(_THROTTLED, status=429),
    "429 alone": Fault(Outcome.THROTTLED, processed=0, status=429),
    "429 nonsense": Fault(Outcome.THROTTLED, processed=0, status=429, headers={"Retry-After": "soon"}),
    "late": Fault(),
    "late to process": Fault(),
    "no refresh token": Fault(without=("refresh_token",)),
    "no expires_in": Fault(without=("expires_in",)),
    "expires at once": _altered(expires_in=0),
    "expires soon": _altered(None, expires_in=0.4),
    "expires on its way": replace(_altered(None, expires_in=0.4), delay_after=1.0),
    "expires_in text": _altered(None, expires_in="90"),
    "expires_in nonsense": _altered(expires_in="soon"),
    "strange token": _altered(access_token=f"a\r\nb-{SECRET}"),
    "no access token": Fault(Outcome.LOST, without=("access_token",)),
    "token type": _altered(token_type="mac"),
    "error with 200": Fault(Outcome.REFUSED, status=200, body=_ERROR),
    "invalid_grant": Fault(Outcome.REFUSED, processed=0, status=400, body=_ERROR),
    "must reset": Fault(Outcome.REFUSED, processed=0, status=400, body=_RESET),
    "doubled": Fault(processed=2),
    "doubled, second answer": Fault(processed=2, answer_of=1),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a JSON document or raw text, and headers."""

    status: int
    body: str = field(repr=False)
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Service:
    """The account, its tokens, and what goes wrong next. `now` gives seconds that pass whatever the client's clocks do.

    lifetime: of access tokens. password, two_factor, suspended: the account's own.
    """

    def __init__(self, now: Callable[[], float], lifetime: float, password: str) -> None:
        self.now = now
        self.lifetime = lifetime
        self.password = password
        self.two_factor = ""
        self.suspended = False
        self.faults: deque[Fault] = deque()
        self._serial = 0
        self._access: dict[str, float] = {}
        self._refresh: dict[str, tuple[str, float]] = {}
        self._live: dict[str, str] = {}
        self._last_step = -1
        self._typed_code_used = False

    def queue(self, name: str, times: int, seconds: float) -> None:
        """Let the fault `name` happen to the next `times` token requests."""
        fault = FAULTS[name]
        if name == "late":
            fault = replace(fault, delay_after=seconds)
        elif name == "late to process":
            fault = replace(fault, delay_before=seconds)
        elif name in ("409", "429", "503") and seconds:
            fault = self._throttling(fault, int(seconds))
        self.faults.extend([fault] * times)

    def _throttling(self, fault: Fault, seconds: int) -> Fault:
        """As seconds, or, for every third number, as a date: how far off it will be then, nobody knows yet."""
        if seconds % 3:
            return replace(fault, headers={"Retry-After": str(seconds)}, retry_after=float(seconds))
        date = formatdate(START_WALL + self.now() + seconds, usegmt=True)
        return replace(fault, headers={"Retry-After": date}, retry_after=math.nan)

    def process(self, form: Mapping[str, str], client_id: str, *, rotate: bool = True) -> Answer:
        """Answer one token request."""
        if form.get("grant_type") == "password":
            return self._sign_in(form, client_id)
        return self._renew(form.get("refresh_token", ""), client_id, rotate=rotate)

    def accepts(self, authorization: str) -> bool:
        """Tell whether this header carries a living access token."""
        return self._access.get(authorization.removeprefix("Bearer "), -1.0) > self.now() and not self.suspended

    def revoke_access_tokens(self) -> None:
        self._access.clear()

    def revoke_refresh_tokens(self) -> None:
        self._refresh.clear()

    def heal(self, password: str) -> None:
        """Let everything work from now on."""
        self.faults.clear()
        self.password = password
        self.suspended = False

    def _sign_in(self, form: Mapping[str, str], client_id: str) -> Answer:
        if form.get("password") != self.password or self.suspended:
            return _refusal("invalid_grant", f"Wrong: {form.get('password')}")
        if self.two_factor and not self._accepts_code(form.get("totp", "")):
            return _refusal("two_factor_auth_check", "A code is required.")
        return self._issue(client_id)

    def _accepts_code(self, code: str) -> bool:
        if self.two_factor == "typed":
            fresh, self._typed_code_used = not self._typed_code_used, True
            return fresh and code == TYPED_CODE
        current = int((START_WALL + self.now()) // TOTP_STEP)
        for step in (current, current - 1):
            if step > self._last_step and code == f"code-{SECRET}-{step}":
                self._last_step = step
                return True
        return False

    def _renew(self, refresh_token: str, client_id: str, *, rotate: bool) -> Answer:
        owner, expires = self._refresh.get(refresh_token, ("", 0.0))
        if owner != client_id or self._live.get(client_id) != refresh_token or expires <= self.now() or self.suspended:
            return _refusal("invalid_grant")
        return self._issue(client_id, None if rotate else refresh_token)

    def _issue(self, client_id: str, keep: str | None = None) -> Answer:
        self._serial += 1
        access = f"access-{SECRET}-{self._serial}"
        refresh = keep or f"refresh-{SECRET}-{self._serial}"
        self._access[access] = self.now() + self.lifetime
        self._refresh[refresh] = (client_id, self.now() + REFRESH_TOKEN_LIFETIME)
        self._live[client_id] = refresh
        document = {
            "access_token": access, "token_type": "bearer", "expires_in": self.lifetime, "refresh_token": refresh,
        }  # fmt: skip
        return Answer(200, json.dumps(document))


def _refusal(error: str, description: str | None = None) -> Answer:
    document = {"error": error} if description is None else {"error": error, "error_description": description}
    return Answer(400, json.dumps(document))
