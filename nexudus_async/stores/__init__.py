"""Token stores: where several processes, or the next one, find the tokens of an account."""

from ._protocol import StoredToken, TokenStore

__all__ = ["StoredToken", "TokenStore"]
