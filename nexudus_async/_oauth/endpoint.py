"""The token endpoint over aiohttp: sends a grant, tries again where safe, and remembers a lost refresh token.

Trying again is decided by what became of the attempt (`_wire.Fate`):

                 sign-in                    renewal
    not sent     again                      again
    throttled    again                      again
    broken       again                      not in this flight
    lost         again, unless the code     once more, promptly; after that the refresh token counts as spent, unless
                 was typed by a person      nobody is there to sign in again
    unclear      not in this flight         the same, without the once more
    refused      never                      never

This is the only place where tenacity and the token requests' aiohttp errors are known.
"""

import hashlib
import json
import secrets
import unicodedata
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from nexudus_async._clock import Clock, SystemClock, sleep
from nexudus_async._credentials import PasswordCredentials
from nexudus_async._refresh.policy import RefreshPolicy
from nexudus_async._token import Secret, SecretBytes, Token
from nexudus_async._validation import check_kind, check_methods, parse_origin
from nexudus_async.errors import (
    ConfigurationError,
    CredentialsRejectedError,
    EndpointUnavailableError,
    LoginRequiredError,
    MalformedResponseError,
    NexudusAuthError,
    PasswordResetRequiredError,
    TokenEndpointError,
    TotpRequiredError,
)

from .protocol import TOKEN_PATH, Answer, Fate, GrantRequest, fate_of, parse_answer, renewal, sign_in
from .rejected_password import RefusedPassword
from .replay_guard import Doubt

if TYPE_CHECKING:
    from tenacity import RetryCallState

__all__ = ["TokenEndpoint"]

MAX_BODY = 1024 * 1024
"""Bytes. A token answer is under 2 KiB; more than this is not one, and is not read to its end."""
MAX_TRIES = 3
"""Per sign-in or renewal: a fault that outlives three tries is not a hiccup, and back-off takes over."""
TOTP_STEP = 30.0
"""Seconds for which a one-time code is good (RFC 6238, section 4.1)."""
FIRST_WAIT, LONGEST_WAIT = 0.25, 5.0
"""Seconds between tries: random, up to the first, doubling to the second."""

_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientConnectorDNSError,
    aiohttp.ClientSSLError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.ClientProxyConnectionError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)


class TokenEndpoint:
    """The `TokenSource` for Nexudus: `POST /api/token` with the password grant and the refresh grant.

    client_session: what the requests go through, or a function that returns it when the first is made. It is never
        closed here. Its middlewares do not apply to token requests; its proxy and TLS settings do.
    base_url: the origin of the service; only https, or http to this machine.
    credentials: None where nobody can sign in: `login` then raises `LoginRequiredError`.
    client_id: the `client_id` header (Nexudus keeps one refresh token for each). None: a unique one, made at the
        first sign-in.
    policy: for `connect_timeout`, `flight_deadline` and `default_lifetime`.
    clock: the time; the system's by default.
    account: the user name that `key` is made of, where there are no credentials.
    allow_insecure_http: allow plain http to other machines.

    Raises `ConfigurationError` for an unusable `base_url` or `client_id`. One object serves one manager.
    """

    def __init__(
        self,
        client_session: aiohttp.ClientSession | Callable[[], aiohttp.ClientSession],
        base_url: str | URL,
        credentials: PasswordCredentials | None,
        *,
        client_id: str | None = None,
        policy: RefreshPolicy | None = None,
        clock: Clock | None = None,
        account: str | None = None,
        allow_insecure_http: bool = False,
    ) -> None:
        check_kind("credentials", credentials, PasswordCredentials, "PasswordCredentials(username, password)")
        check_kind("client_id", client_id, str, "text")
        check_kind("policy", policy, RefreshPolicy, "a RefreshPolicy")
        if clock is not None:
            check_methods("clock", clock, ("monotonic", "wall"), "a Clock")
        if not callable(client_session):
            check_methods("client_session", client_session, ("post",), "an aiohttp.ClientSession")
        if client_id is not None and not (client_id and client_id.isascii() and client_id.isprintable()):
            raise ConfigurationError("client_id is sent as a header: it must be printable ASCII, and not empty")
        self._session = client_session
        origin = parse_origin("base_url", base_url, allow_insecure_http=allow_insecure_http)
        self._url = origin.with_path(TOKEN_PATH)
        self._credentials = credentials
        self._client_id, self._named = client_id, client_id is not None
        self._policy = policy or RefreshPolicy()
        self._clock = clock or SystemClock()
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._policy.connect_timeout)
        self._doubt = Doubt(self._clock)
        self._typed_code_used = False
        self._refused = RefusedPassword()
        self.key = account_key(origin, credentials.username if credentials else account, client_id)
        """What a store files this account's tokens under: a hash, so that it names nobody."""

    async def login(self) -> Token:
        """Sign in with the credentials, fetched anew for every try (RFC 6749, section 4.3).

        Raises `LoginRequiredError` without credentials, else the `NexudusAuthError` of the last try. A
        `TotpRequiredError` with `retry_after` says when the next one-time code can be had.
        Cancelling abandons the request, which may have been carried out.
        """
        self._client_id = self._client_id or _new_client_id()
        return await self._login(self._client_id)

    async def login_apart(self) -> Token:
        """Sign in under a new `client_id`: the refresh token of the usual one stays good. Raises as `login`."""
        return await self._login(_new_client_id())

    def join(self, client_id: str) -> None:
        """Sign in under `client_id` from now on, unless one was given by hand."""
        if not self._named:
            self._client_id = client_id

    def recall(self, token: Token) -> None:
        """Treat the refresh token of `token` as one that may have been used, unless this endpoint knows better."""
        if token.refresh_token is not None:
            self._doubt.recall(token.refresh_token)

    def in_doubt(self, token: Token) -> bool:
        """Tell whether the refresh token of `token` may have been used, for all that is known."""
        return token.refresh_token is not None and self._doubt.about(token.refresh_token)

    async def fingerprint(self, like: str | None = None) -> str | None:
        """Return a slow hash (RFC 7914) of the password refused last, or, with the salt of `like`, of today's."""
        if self._credentials is None:
            return None
        if like is not None:
            return await self._refused.fingerprint_like(await self._credentials.fetch_password(), like)
        return await self._refused.fingerprint()

    async def _login(self, client_id: str) -> Token:
        credentials = self._credentials
        if credentials is None:
            raise LoginRequiredError(
                "there are no credentials here and no usable tokens in the store: sign in where the password is, "
                "with the same store and account"
            )

        async def attempt() -> Token:
            return await self._sign_in(credentials, client_id)

        return await self._retrying(attempt, self._may_sign_in_again)

    async def refresh(self, token: Token) -> Token:
        """Renew `token` with its refresh token, under the `client_id` it was issued to (RFC 6749, section 6).

        Raises a `TokenEndpointError`; where `refresh_token_spent` is set, this refresh token must not be sent again.
        Cancelling counts as a lost answer.
        """
        if token.refresh_token is None or token.client_id is None:
            raise TokenEndpointError("the token has no refresh token", refresh_token_spent=True)
        refresh_token, client_id = Secret(token.refresh_token), token.client_id

        async def attempt() -> Token:
            return await self._renew(refresh_token, client_id)

        def may_retry(failed: _AttemptFailed) -> bool:
            harmless = failed.fate in (Fate.NOT_SENT, Fate.THROTTLED, Fate.LOST)
            return harmless and not self._doubt.late(refresh_token)

        return await self._retrying(attempt, may_retry)

    async def credentials_changed(self) -> bool:
        """Tell whether a callable password now returns another value than the one that was refused."""
        if self._credentials is None or isinstance(self._credentials.password, str):
            return False
        return self._refused.is_another(await self._credentials.fetch_password())

    async def _sign_in(self, credentials: PasswordCredentials, client_id: str) -> Token:
        typed_code = isinstance(credentials.totp, str)
        if typed_code and self._typed_code_used:
            raise TotpRequiredError(
                "the one-time code given as text was used already: pass a new one, or a callable such as "
                "totp_from_secret(...)",
                error="two_factor_auth_check",
            )
        password, totp = await credentials.fetch_password(), await credentials.fetch_totp()
        self._typed_code_used = typed_code  # before the request: whoever cancels it cannot tell whether it arrived
        self._refused.drop()
        try:
            return await self._post(sign_in(credentials.username, password, totp, client_id))
        except _AttemptFailed as failed:
            if failed.fate not in (Fate.LOST, Fate.UNCLEAR, Fate.REFUSED):
                self._typed_code_used = False
            if isinstance(failed.error, CredentialsRejectedError | PasswordResetRequiredError | TotpRequiredError):
                self._refused.remember(password)
            if isinstance(failed.error, TotpRequiredError) and callable(credentials.totp):
                failed.error.retry_after = TOTP_STEP - self._clock.wall() % TOTP_STEP
            raise

    async def _renew(self, refresh_token: Secret, client_id: str) -> Token:
        if not self._attended and self._doubt.late(refresh_token):
            raise TokenEndpointError(
                "the answer to the last renewal was lost, and its refresh token may have been used",
                refresh_token_spent=True,
            )
        before = self._doubt.sending(refresh_token)
        try:
            token = await self._post(renewal(refresh_token, client_id))
        except _AttemptFailed as failed:
            if failed.fate in (Fate.LOST, Fate.UNCLEAR):
                if failed.fate is Fate.UNCLEAR:
                    self._doubt.no_replay()
                failed.error.refresh_token_spent = not self._attended
            elif before is None or failed.fate in (Fate.NOT_SENT, Fate.THROTTLED):
                self._doubt.restore(before)
            # Else the one replay was made: whatever came of it, there is no other.
            raise
        self._doubt.restore(None)
        return token

    def _may_sign_in_again(self, failed: "_AttemptFailed") -> bool:
        return failed.fate not in (Fate.UNCLEAR, Fate.REFUSED) and not self._typed_code_used

    @property
    def _attended(self) -> bool:
        """Whether a sign-in needs a person, or is impossible: then a doubtful refresh token is better than none."""
        return self._credentials is None or isinstance(self._credentials.totp, str)

    async def _retrying(
        self, attempt: Callable[[], Awaitable[Token]], may_retry: Callable[["_AttemptFailed"], bool]
    ) -> Token:
        started = self._clock.monotonic()
        reserve = min(self._policy.connect_timeout, self._policy.flight_deadline / MAX_TRIES)

        def out_of_time(state: "RetryCallState") -> bool:
            """Whether the next try could not even connect before the deadline cuts it off in an unknown state."""
            elapsed = self._clock.monotonic() - started
            return elapsed + state.upcoming_sleep + reserve > self._policy.flight_deadline

        # Imported at the first sign-in: it is a fifth of what importing this package adds to aiohttp.
        from tenacity import AsyncRetrying, retry_if_exception, wait_random_exponential  # noqa: PLC0415

        waits = wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda exc: isinstance(exc, _AttemptFailed) and may_retry(exc)),
            stop=lambda state: state.attempt_number >= MAX_TRIES or out_of_time(state),
            wait=lambda state: max(waits(state), _asked_wait(state)),
            sleep=lambda seconds: sleep(self._clock, seconds),
            reraise=True,
        )
        try:
            return await retrying(attempt)
        except _AttemptFailed as failed:
            raise failed.error from failed.__cause__

    async def _post(self, request: GrantRequest) -> Token:
        """Send one request. Raises `_AttemptFailed`, or `ConfigurationError` for an unusable session."""
        try:
            answer = await self._exchange(request)
        except NexudusAuthError:  # a closed session: these are aiohttp errors too, but say nothing about an answer
            raise
        except _NOT_SENT as exc:
            raise _AttemptFailed(self._unavailable("could not be reached", exc), Fate.NOT_SENT) from exc
        except (aiohttp.ClientPayloadError, aiohttp.ContentTypeError) as exc:
            cut_off = MalformedResponseError("the token endpoint's answer was cut off")
            raise _AttemptFailed(cut_off, Fate.LOST) from exc
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise _AttemptFailed(self._unavailable("dropped the request", exc), Fate.LOST) from exc
        try:
            return parse_answer(request, answer, self._policy.default_lifetime)
        except TokenEndpointError as error:
            raise _AttemptFailed(error, fate_of(error)) from None

    async def _exchange(self, request: GrantRequest) -> Answer:
        session = self._session() if callable(self._session) else self._session
        if session.closed:
            raise ConfigurationError("the aiohttp session for token requests is closed: close it after the manager")
        sent_at = self._clock.wall()
        async with session.post(
            self._url,
            data=request.form,
            headers=request.headers,
            timeout=self._timeout,
            allow_redirects=False,
            raise_for_status=False,
            middlewares=(_without_authorization,),
        ) as response:
            body = await _read_at_most(response, MAX_BODY)
            return Answer(response.status, response.headers, body, sent_at, self._clock.wall())

    def _unavailable(self, what: str, cause: BaseException) -> EndpointUnavailableError:
        return EndpointUnavailableError(f"the token endpoint at {self._url.host} {what} ({type(cause).__name__})")


class _AttemptFailed(Exception):  # noqa: N818 - it never leaves this file
    """One try failed with `error`, and `fate` says whether another is safe."""

    def __init__(self, error: TokenEndpointError, fate: Fate) -> None:
        super().__init__(str(error))
        self.error = error
        self.fate = fate


async def _without_authorization(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send a token request without what aiohttp finds for its host in netrc: the service asks for none."""
    request.headers.pop(aiohttp.hdrs.AUTHORIZATION, None)
    return await handler(request)


def _asked_wait(state: "RetryCallState") -> float:
    """Return the seconds that the service asked to wait."""
    failure = state.outcome and state.outcome.exception()
    return (isinstance(failure, _AttemptFailed) and failure.error.retry_after) or 0.0


async def _read_at_most(response: aiohttp.ClientResponse, limit: int) -> SecretBytes:
    """Read the body; of one that is larger than `limit` bytes only so much that nobody can take it for JSON."""
    parts: list[SecretBytes] = []
    while limit >= 0 and (part := await response.content.read(limit + 1)):
        parts.append(SecretBytes(part))
        limit -= len(part)
    return SecretBytes(b"" if limit < 0 else b"".join(parts))


def _new_client_id() -> str:
    return f"nexudus-async-{secrets.token_hex(8)}"


def account_key(origin: URL, username: str | None, client_id: str | None) -> str:
    """Return the name under which a store keeps an account's tokens."""
    account = unicodedata.normalize("NFC", username or "").strip().casefold()
    return hashlib.sha256(json.dumps([str(origin), account, client_id]).encode()).hexdigest()[:32]
