"""Signing in as a member with an operator's session: it gives a one-time JWT, which is exchanged like any other."""

import re
from typing import Final

import aiohttp

from nexudus_async._clock import Clock
from nexudus_async._credentials import ImpersonationCredentials
from nexudus_async._ratelimit.retry_after import THROTTLED, retry_after
from nexudus_async._token import Secret, SecretBytes, Token
from nexudus_async.errors import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    MalformedResponseError,
    NexudusAuthError,
    TokenEndpointError,
    cause_of,
    of_operator,
    without_frames,
)

from .body import json_object
from .failures import FINAL
from .in_hand import Exchange
from .sign_in import Attempt, SignIn
from .transport import AttemptFailed, Form, read_at_most

IMPERSONATE_PATH: Final = "/api/sys/users/impersonate"
MAX_BODY: Final = 64 * 1024
"""Bytes. A JWT has some hundreds."""
_JWT: Final = r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*){2,4}"
_NOT_ALLOWED: Final = (401, 403)
_NO_SUCH_MEMBER: Final = (400, 404)


class ImpersonationSignIn(SignIn):
    """Asks the operator's session for a JWT, and exchanges it; as often as it is needed."""

    grant = "exchange"
    attended = False

    def __init__(self, exchange: Exchange, credentials: ImpersonationCredentials, clock: Clock) -> None:
        self._exchange, self._credentials, self._clock = exchange, credentials, clock

    async def begin(self, client_id: str, *, apart: bool) -> Attempt:  # noqa: ARG002 - the service chooses it
        return self._attempt

    async def _attempt(self) -> Token:
        return await self._exchange(await self._mint(), Form(SecretBytes(b"")))

    async def _mint(self) -> Secret:
        """Return a JWT of the member. What the operator's session raises comes out naming the operator."""
        operator = self._credentials.session
        number, label = self._credentials.coworker_id, operator.label
        try:
            response = await operator.get(
                IMPERSONATE_PATH, params={"coworkerId": str(number)}, headers={"Accept": "application/json"},
                allow_redirects=False, raise_for_status=False,
            )  # fmt: skip
            async with response:
                body = await read_at_most(response, MAX_BODY)
        except NexudusAuthError as exc:
            raise of_operator(exc, label) from cause_of(exc)
        except (aiohttp.ClientError, OSError) as exc:
            raise EndpointUnavailableError(
                f"the operator {label} could not ask for a one-time JWT ({type(exc).__name__})"
            ) from without_frames(exc)
        jwt = _jwt_in(body, response.headers.get("Content-Type", "")) if response.ok else None
        if jwt is None:
            raise _refusal(response, label, number, self._clock.wall())
        return jwt

    def may_retry(self, failed: AttemptFailed) -> bool:
        return failed.fate not in FINAL


def _jwt_in(body: SecretBytes, content_type: str) -> Secret | None:
    """Return the JWT in an answer: which name it has there is not documented, but a JWT is known by its dots."""
    document = json_object(body, content_type)
    texts = [body.decode(errors="replace").strip().strip('"')] if document is None else document.values()
    found = (text for text in texts if isinstance(text, str) and re.fullmatch(_JWT, text))
    return next(map(Secret, found), None)


def _refusal(response: aiohttp.ClientResponse, label: str, number: int, now: float) -> TokenEndpointError:
    """Return what an answer without a JWT amounts to. now: seconds since 1970, for a date in `Retry-After`."""
    status, who = response.status, f"the operator {label}"
    if status in _NOT_ALLOWED:
        return CredentialsRejectedError(
            f"{who} may not sign others in ({status}): {IMPERSONATE_PATH} wants the session of an administrator",
            status=status,
        )
    if status in _NO_SUCH_MEMBER:
        return CredentialsRejectedError(
            f"{who} asked for coworker {number}, whom the service does not know ({status}): check coworker_id",
            status=status,
        )
    if status in THROTTLED or status >= 500:
        return EndpointUnavailableError(
            f"{who} asked for a one-time JWT, and was answered {status}",
            status=status, retry_after=retry_after(response.headers, now),
        )  # fmt: skip
    return MalformedResponseError(f"{who} asked for a one-time JWT, and the answer ({status}) has none", status=status)
