"""Who signs in: with a password, with tokens or a one-time JWT in hand, or as an operator for somebody else."""

from .in_hand import ExchangeCredentials, ImpersonationCredentials, Operator, RefreshTokenCredentials
from .password import PasswordCredentials, totp_from_secret

Credentials = PasswordCredentials | RefreshTokenCredentials | ExchangeCredentials | ImpersonationCredentials

__all__ = [
    "Credentials",
    "ExchangeCredentials",
    "ImpersonationCredentials",
    "Operator",
    "PasswordCredentials",
    "RefreshTokenCredentials",
    "totp_from_secret",
]
