"""How one signs in: one small object for each kind of credentials. All else is shared: refreshing, tries, the guard."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Final

from nexudus_async._events import Grant
from nexudus_async._token import Token
from nexudus_async.errors import LoginRequiredError

from .transport import AttemptFailed

HOLD: Final = 30.0
"""Seconds for which what was fetched for a look is kept for the sign-in that follows at once: what gives it may be good
for one call."""

Attempt = Callable[[], Awaitable[Token]]
"""One try of a sign-in. Raises `AttemptFailed` where another may help."""


class SignIn(ABC):
    """A way to begin a chain of tokens. What a kind of credentials has no use for is as here."""

    grant: Grant | None
    """What its tokens are counted as; None where nobody is asked for them."""
    attended: bool
    """Whether it needs a person, or is impossible: then a doubtful refresh token is better than none."""

    async def take_one_time(self) -> str | None:
        """Take credentials for one use, and return their mark, as `Grants.take_one_time` says."""
        return None

    @abstractmethod
    async def begin(self, client_id: str, *, apart: bool) -> Attempt:
        """Return one try, to be made as often as `may_retry` says. Raises `LoginRequiredError` where there is none.

        client_id: for those that may choose one. apart: leave the chain that others share alone.
        """

    def may_retry(self, failed: AttemptFailed) -> bool:  # noqa: ARG002
        """Tell whether a further try is safe, and may help."""
        return False

    async def credentials_changed(self) -> bool:
        """Tell, without a request, whether the credentials are others than those refused last."""
        return False

    async def fingerprint(self, like: str | None = None) -> str | None:  # noqa: ARG002
        """Return a hash of the credentials refused last, or, to compare it with `like`, of today's."""
        return None


class NoSignIn(SignIn):
    """Where nobody can sign in: tokens come from a store."""

    grant = "password"
    attended = True

    async def begin(self, client_id: str, *, apart: bool) -> Attempt:  # noqa: ARG002
        raise LoginRequiredError(
            "there are no credentials here and no usable tokens in the store: sign in where the password is, "
            "with the same store and account"
        )
