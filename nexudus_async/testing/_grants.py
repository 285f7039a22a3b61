"""The token endpoint's decisions: form and `client_id` header in, status and JSON out. No I/O.

Every refusal is a 400, as documented. Clients must decide by `error`; `fail()` shows them other statuses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ._accounts import Accounts, RefreshTokenState, User

__all__ = ["GrantAnswer", "Grants"]


@dataclass(frozen=True, slots=True)
class GrantAnswer:
    """An answer of the token endpoint, and whose tokens it is about."""

    status: int
    payload: Mapping[str, object] = field(repr=False)
    username: str | None = None


class Grants:
    """Answers sign-ins and renewals.

    lifetime: seconds that the next access tokens live; told to the client as `expires_in`.
    unknown_account_is_500: answer a sign-in for an account that does not exist with a 500, as seen live, instead of
        the documented `invalid_grant`.
    """

    def __init__(self, accounts: Accounts, lifetime: float) -> None:
        self._accounts = accounts
        self.lifetime = lifetime
        self.unknown_account_is_500 = False
        self.reset_counts()

    def reset_counts(self) -> None:
        self.sign_ins = 0
        self.renewals = 0
        self.renewals_refused = 0
        self.refresh_tokens_reused = 0

    def answer(self, form: Mapping[str, str], client_id: str | None) -> GrantAnswer:
        """Decide one token request. `form` is empty when the body was not form-encoded."""
        match form.get("grant_type"):
            case "password":
                return self._sign_in(form, client_id)
            case "refresh_token":
                return self._renew(form.get("refresh_token", ""), client_id)
            case _:
                return _refusal("unsupported_grant_type")

    def _sign_in(self, form: Mapping[str, str], client_id: str | None) -> GrantAnswer:
        username = form.get("username", "")
        user = self._accounts.find(username)
        if user is None and self.unknown_account_is_500:
            return GrantAnswer(500, {"Message": "An error has occurred."})
        if user is None:
            return _refusal("invalid_grant", "This customer is not registered with this location.")
        refusal = self._why_not(user, form)
        if refusal is not None:
            return refusal
        self.sign_ins += 1
        return self._grant(user, client_id or username)

    def _why_not(self, user: User, form: Mapping[str, str]) -> GrantAnswer | None:
        name = user.username
        if form.get("password") != user.password:
            return _refusal("invalid_grant", "The e-mail or the password is not correct.", name)
        if user.suspended:
            return _refusal("invalid_grant", "This account has been suspended.", name)
        if user.totp_secret is not None and not self._accounts.accepts_code(user, form.get("totp", "")):
            return _refusal("two_factor_auth_check", "A valid two-factor code is required.", name)
        if user.must_reset:
            return _refusal("must_reset_password", self._accounts.make_reset_token(), name)
        return None

    def _renew(self, refresh_token: str, client_id: str | None) -> GrantAnswer:
        known = self._accounts.look_up(refresh_token)
        if known is not None and known.state is RefreshTokenState.USED:
            self.refresh_tokens_reused += 1
        name = known.user.username if known is not None else None
        live = known is not None and known.state is RefreshTokenState.LIVE
        if known is None or not live or known.client_id != client_id or known.user.suspended:
            self.renewals_refused += 1
            return _refusal("invalid_grant", username=name)  # the service may leave the description out here
        self.renewals += 1
        self._accounts.use_up(refresh_token)
        return self._grant(known.user, known.client_id)

    def _grant(self, user: User, client_id: str) -> GrantAnswer:
        pair = self._accounts.issue(user, client_id, self.lifetime)
        lifetime = int(self.lifetime) if float(self.lifetime).is_integer() else self.lifetime
        payload: dict[str, object] = {
            "access_token": pair.access_token,
            "token_type": "bearer",
            "expires_in": lifetime,
            "refresh_token": pair.refresh_token,
        }
        return GrantAnswer(200, payload, user.username)


def _refusal(error: str, description: str | None = None, username: str | None = None) -> GrantAnswer:
    payload: dict[str, object] = {"error": error}
    if description is not None:
        payload["error_description"] = description
    return GrantAnswer(400, payload, username)
