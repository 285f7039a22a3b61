"""Where tokens come from: what every source can do, and what that of Nexudus can do besides."""

from abc import ABC, abstractmethod
from typing import Protocol

from nexudus_async._events import Grant
from nexudus_async._token import Token

from .tried import Tried


class TokenSource(Protocol):
    """Where tokens come from. `TokenEndpoint` is the one for Nexudus; a test may have its own."""

    @property
    def key(self) -> str:
        """What a store files the tokens under."""
        ...

    async def login(self) -> Token:
        """Return a token for the credentials. Raises a `NexudusAuthError`."""
        ...

    async def refresh(self, token: Token, /) -> Token:
        """Return the successor of `token`.

        Raises a `NexudusAuthError`; a `TokenEndpointError` with `refresh_token_spent` leads to a sign-in at once.
        """
        ...


class Grants(Protocol):
    """The two grants, and what is known of the credentials and refresh tokens sent.

    The one is a sign-in (RFC 6749, section 4.3, or what stands in for it), the other a refresh (section 6).
    """

    @property
    def for_fleets(self) -> bool:
        """Whether it can sign in under the `client_id` of a chain that others share, and tell equal credentials."""
        ...

    @property
    def grant(self) -> Grant | None:
        """What a sign-in is counted as; None where it asks nobody, and gives what was handed over."""
        ...

    @property
    def tried(self) -> Tried:
        """The credentials for one use that were used."""
        ...

    async def take_one_time(self) -> str | None:
        """Take the credentials that the next sign-in uses up, if they are for one use, and return their mark.

        They count as tried from now on, unless the sign-in finds that nothing was sent. Raises `LoginRequiredError`
        where they were used already.
        """
        ...

    async def sign_in(self, client_id: str | None, *, probing: bool, by_hand: bool) -> Token:
        """Return a token for the credentials, under the `client_id` of the chain; None: under its own.

        probing: the last attempt has failed, so that this one is a single try. by_hand: the service is asked, also for
        what was handed over, which is refreshed then. It counts as not used again where that is known.
        """
        ...

    async def sign_in_apart(self) -> Token:
        """Return a token under a new `client_id`, which leaves the chain that others share alone."""
        ...

    async def refresh(self, token: Token) -> Token:
        """Return the successor of `token`."""
        ...

    def others_have_sent(self, token: Token) -> None:
        """Learn that another process has sent the refresh token of `token`, and nobody knows the answer."""
        ...

    def may_have_been_used(self, token: Token) -> bool:
        """Tell whether the refresh token of `token` may have been used, for all that is known."""
        ...

    async def credentials_changed(self) -> bool:
        """Tell, without a request, whether the credentials are others than those refused last."""
        ...

    async def fingerprint(self, like: str | None = None) -> str | None:
        """Return a slow, salted hash of the credentials, with the salt of `like`; None where there are none."""
        ...


class HasGrants(ABC):
    """A source that knows more than a `TokenSource` must: `TokenEndpoint`."""

    @abstractmethod
    def _grants_of_source(self) -> Grants: ...


class _PlainGrants:
    """The grants of any other source, which has its tokens for itself."""

    for_fleets = False
    grant: Grant | None = "password"

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self.tried = Tried(source.key)

    async def take_one_time(self) -> str | None:
        return None

    async def sign_in(self, client_id: str | None, *, probing: bool, by_hand: bool) -> Token:  # noqa: ARG002 - it knows of none
        return await self._source.login()

    async def sign_in_apart(self) -> Token:
        return await self._source.login()

    async def refresh(self, token: Token) -> Token:
        return await self._source.refresh(token)

    def others_have_sent(self, token: Token) -> None:
        pass

    def may_have_been_used(self, token: Token) -> bool:  # noqa: ARG002
        return False

    async def credentials_changed(self) -> bool:
        return False

    async def fingerprint(self, like: str | None = None) -> str | None:  # noqa: ARG002
        return None


def grants_of(source: TokenSource) -> Grants:
    """Return the grants of a source."""
    return source._grants_of_source() if isinstance(source, HasGrants) else _PlainGrants(source)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - for this
