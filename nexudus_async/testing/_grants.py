"""The token endpoint's decisions: form and `client_id` header in, status and JSON out. No I/O.

Every refusal is a 400, as documented, that of a used JWT aside. Clients must decide by `error`; `fail()` shows them
other statuses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ._accounts import Accounts, RefreshTokenState, User
from ._one_time import JwtRefusal
from ._settings import Settings


@dataclass(frozen=True, slots=True)
class GrantAnswer:
    """An answer of the token endpoint, and whose tokens it is about."""

    status: int
    payload: Mapping[str, object] = field(repr=False)
    username: str | None = None


class Grants:
    """Answers sign-ins, refreshes and exchanges."""

    def __init__(self, accounts: Accounts, settings: Settings) -> None:
        self._accounts = accounts
        self._settings = settings
        self.reset_counts()

    def reset_counts(self) -> None:
        self.sign_ins: int = 0
        self.sign_ins_refused: int = 0
        self.refreshes: int = 0
        self.refreshes_refused: int = 0
        self.refresh_tokens_reused: int = 0
        self.exchanges: int = 0

    def answer(self, form: Mapping[str, str], client_id: str | None) -> GrantAnswer:
        """Decide one token request. `form` is empty when the body was not form-encoded."""
        match form.get("grant_type"):
            case "password":
                return self._sign_in(form, client_id)
            case "refresh_token":
                return self._refresh(form.get("refresh_token", ""), client_id)
            case _:
                return _refusal("unsupported_grant_type")

    def exchange(self, jwt: str, minutes: int) -> GrantAnswer:
        """Turn a one-time JWT into a session of `minutes`, whose refresh token is bound to the user's e-mail."""
        user = self._accounts.one_time.redeem(jwt)
        if isinstance(user, JwtRefusal):
            return GrantAnswer(400 if user is JwtRefusal.UNKNOWN else 401, {"Message": user.value})
        if user.suspended:
            return GrantAnswer(401, {"Message": "This account has been suspended."}, user.username)
        self.exchanges += 1
        return self._grant(user, client_id_of(user, None), minutes * 60, name="token")

    def _sign_in(self, form: Mapping[str, str], client_id: str | None) -> GrantAnswer:
        user = self._accounts.find(form.get("username", ""))
        if user is None:
            self.sign_ins_refused += 1
            if self._settings.unknown_account_is_500:
                return GrantAnswer(500, {"Message": "An error has occurred."})
            return _refusal("invalid_grant", "This customer is not registered with this location.")
        refusal = self._why_not(user, form)
        if refusal is not None:
            self.sign_ins_refused += 1
            return refusal
        self.sign_ins += 1
        user.invalid_login_attempts = 0
        return self._grant(user, client_id_of(user, client_id), self._settings.lifetime)

    def _why_not(self, user: User, form: Mapping[str, str]) -> GrantAnswer | None:
        name = user.username
        if form.get("password") != user.password:
            self._count_failure(user)
            return _refusal("invalid_grant", "The e-mail or the password is not correct.", name)
        if user.suspended:
            return _refusal("invalid_grant", "This account has been suspended.", name)
        if user.sso_only:
            return _refusal("invalid_grant", "This account signs in with single sign-on only.", name)
        if user.totp_secret is not None and not self._accounts.accepts_code(user, form.get("totp", "")):
            if form.get("totp"):  # without one it is the first half of a sign-in, and no failure
                self._count_failure(user)
            return _refusal("two_factor_auth_check", "A valid two-factor code is required.", name)
        if user.must_reset:
            return _refusal("must_reset_password", self._accounts.make_link_token(), name)
        return None

    def _count_failure(self, user: User) -> None:
        user.invalid_login_attempts += 1
        limit = self._settings.lock_after
        if limit is not None and user.invalid_login_attempts >= limit:
            user.suspended = True

    def _refresh(self, refresh_token: str, client_id: str | None) -> GrantAnswer:
        known = self._accounts.look_up(refresh_token)
        if known is not None and known.state is RefreshTokenState.USED:
            self.refresh_tokens_reused += 1
        name = known.user.username if known is not None else None
        live = known is not None and known.state is RefreshTokenState.LIVE
        if (
            known is None
            or not live
            or not client_id
            or known.client_id != client_id_of(known.user, client_id)
            or known.user.suspended
        ):
            self.refreshes_refused += 1
            return _refusal("invalid_grant", username=name)  # the service may leave the description out here
        self.refreshes += 1
        self._accounts.use_up(refresh_token)
        return self._grant(known.user, known.client_id, self._settings.lifetime)

    def _grant(self, user: User, client_id: str, lifetime: float, *, name: str = "access_token") -> GrantAnswer:
        pair = self._accounts.issue(user, client_id, lifetime)
        payload: dict[str, object] = {
            name: pair.access_token,
            "token_type": "bearer",
            "expires_in": int(lifetime) if float(lifetime).is_integer() else lifetime,
            "refresh_token": pair.refresh_token,
        }
        return GrantAnswer(200, payload, user.username)


def client_id_of(user: User, given: str | None) -> str:
    """Return the `client_id` that tokens are bound to: the one given, or the customer's e-mail whatever its case."""
    return user.username.lower() if not given or user.is_named(given) else given


def _refusal(error: str, description: str | None = None, username: str | None = None) -> GrantAnswer:
    payload: dict[str, object] = {"error": error}
    if description is not None:
        payload["error_description"] = description
    return GrantAnswer(400, payload, username)
