"""An async token manager for Nexudus. Start with `TokenSession`.

The map: each room answers the question in its name, and imports only what stands above it here.

    errors                          what can go wrong
    _value _token _events _clock    the values that all speak of: tokens and secrets, what happened, time,
    _validation _credentials        checks of arguments, who signs in
    stores/                         where tokens are kept
    _refresh/                       how one process keeps one token fresh (no HTTP)
    _ratelimit/ _oauth/ _fleet/     how fast requests may go; how the token endpoint is asked; many processes
    _manager                        what a caller gets: `TokenManager`
    _http/                          how requests carry the token
    _session _keep_alive            the front door: `TokenSession`
    _sessions _members _member      a session for each of many accounts: `TokenSessions`, those open, one of them
    otel prometheus httpx           metrics and spans, and an `Auth` for httpx; each needs the extra of its name
    testing/                        the emulator, a manual clock, pytest fixtures
    _cli/ __main__                  the command line

The way of a request: `session.get` → `_http/request` (is this origin ours?) → `_http/sender`, which waits for
`_ratelimit/pacing`, and for `_ratelimit/gate` once one was throttled (`request_rates` and `adaptive_rate` have the rate
that it learns) → `manager.token()`: served at once, or `_refresh/coordinator` joins or launches the one flight →
`_refresh/renewal`, or with a store `_fleet/renewal` (the store is reached through `_fleet/storage` and `_fleet/access`)
→ `_oauth/endpoint` → `_oauth/grants` → `_oauth/transport` → `_oauth/protocol`. And back: `_refresh/state` holds the
token, the waiters are woken, the listener is told, the store has it; the header is set, the request sent. 401?
`_http/unauthorized`, and one replay. 409 or 429? `_ratelimit/throttle` says whether it is sent again, and when.
"""

from ._clock import Clock
from ._credentials import (
    ExchangeCredentials,
    ImpersonationCredentials,
    PasswordCredentials,
    RefreshTokenCredentials,
    totp_from_secret,
)
from ._events import (
    Event,
    Listener,
    PacingFailed,
    RefreshFailed,
    Statistics,
    StoreFailed,
    Throttled,
    TokenAdopted,
    TokenObtained,
    TokenRejected,
)
from ._http.middleware import BearerMiddleware
from ._manager import TokenManager
from ._oauth.endpoint import TokenEndpoint
from ._ratelimit.pacing import Pacing
from ._ratelimit.throttle import Throttle
from ._refresh.grants import TokenSource
from ._refresh.policy import Freshness, RefreshPolicy
from ._session import TokenSession
from ._sessions import SessionsStatistics, TokenSessions
from ._token import Token
from .errors import (
    ConfigurationError,
    CredentialsRejectedError,
    EndpointUnavailableError,
    LoginRequiredError,
    MalformedResponseError,
    NexudusAuthError,
    PasswordResetRequiredError,
    SessionClosedError,
    StoreError,
    TokenEndpointError,
    TotpRequiredError,
    UnreadableRecordError,
    WrongHostError,
)
from .stores import EncryptedStore, FileStore, MemoryStore, RedisStore, StoredToken, TokenStore

__version__ = "0.1.0"

__all__ = [
    "BearerMiddleware",
    "Clock",
    "ConfigurationError",
    "CredentialsRejectedError",
    "EncryptedStore",
    "EndpointUnavailableError",
    "Event",
    "ExchangeCredentials",
    "FileStore",
    "Freshness",
    "ImpersonationCredentials",
    "Listener",
    "LoginRequiredError",
    "MalformedResponseError",
    "MemoryStore",
    "NexudusAuthError",
    "Pacing",
    "PacingFailed",
    "PasswordCredentials",
    "PasswordResetRequiredError",
    "RedisStore",
    "RefreshFailed",
    "RefreshPolicy",
    "RefreshTokenCredentials",
    "SessionClosedError",
    "SessionsStatistics",
    "Statistics",
    "StoreError",
    "StoreFailed",
    "StoredToken",
    "Throttle",
    "Throttled",
    "Token",
    "TokenAdopted",
    "TokenEndpoint",
    "TokenEndpointError",
    "TokenManager",
    "TokenObtained",
    "TokenRejected",
    "TokenSession",
    "TokenSessions",
    "TokenSource",
    "TokenStore",
    "TotpRequiredError",
    "UnreadableRecordError",
    "WrongHostError",
    "totp_from_secret",
]
