"""An async token manager for Nexudus. Start with `TokenSession`."""

from ._clock import Clock
from ._credentials import PasswordCredentials, totp_from_secret
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
    "FileStore",
    "Freshness",
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
    "SessionClosedError",
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
    "TokenSource",
    "TokenStore",
    "TotpRequiredError",
    "WrongHostError",
    "totp_from_secret",
]
