"""An async token manager for Nexudus. Start with `TokenSession`."""

from ._bearer import BearerMiddleware
from ._clock import Clock
from ._credentials import PasswordCredentials, totp_from_secret
from ._endpoint import TokenEndpoint
from ._events import Event, Listener, RefreshFailed, Statistics, TokenObtained, TokenRejected
from ._lifecycle import Freshness, RefreshPolicy
from ._manager import TokenManager, TokenSource
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

__version__ = "0.1.0"

__all__ = [
    "BearerMiddleware",
    "Clock",
    "ConfigurationError",
    "CredentialsRejectedError",
    "EndpointUnavailableError",
    "Event",
    "Freshness",
    "Listener",
    "LoginRequiredError",
    "MalformedResponseError",
    "NexudusAuthError",
    "PasswordCredentials",
    "PasswordResetRequiredError",
    "RefreshFailed",
    "RefreshPolicy",
    "SessionClosedError",
    "Statistics",
    "StoreError",
    "Token",
    "TokenEndpoint",
    "TokenEndpointError",
    "TokenManager",
    "TokenObtained",
    "TokenRejected",
    "TokenSession",
    "TokenSource",
    "TotpRequiredError",
    "WrongHostError",
    "totp_from_secret",
]
