"""Other ways in than the token endpoint: the exchange of a one-time JWT, impersonation, one-time passwords by mail."""

from aiohttp import web

from nexudus_async._clock import Clock

from ._accounts import Accounts, User
from ._grants import Grants
from ._input import whole_number
from ._notes import NOTE
from ._one_time import JWT_LIFETIME
from ._routing import Handler, json_error

_OTP_PAUSE = 60.0  # seconds between two e-mails to one address; that there is a limit is known, the number is not


class Links:
    """The handlers. A JWT minted here is used once, in `JWT_LIFETIME` seconds."""

    def __init__(self, accounts: Accounts, grants: Grants, clock: Clock) -> None:
        self._accounts = accounts
        self._grants = grants
        self._clock = clock
        self._mailed: dict[str, float] = {}

    def open_handlers(self) -> dict[tuple[str, str], Handler]:
        return {
            ("POST", "/api/sys/users/exchange"): self.exchange,
            ("GET", "/api/sys/users/sendOtp"): self.send_otp,
        }

    def handlers(self) -> dict[tuple[str, str], Handler]:
        return {
            ("GET", "/api/sys/users/impersonate"): self.impersonate,
            ("POST", "/api/sys/users/token/refresh"): self.link_token,
        }

    async def exchange(self, request: web.Request) -> web.Response:
        """Both values stand in the query, the JWT among them; the body is empty."""
        jwt, minutes = request.query.get("token", ""), whole_number(request.query.get("validForInMinutes", ""))
        if not jwt:
            raise json_error(web.HTTPBadRequest, "token is missing.")
        if minutes is None or not 0 < minutes <= 60 * 24 * 366:
            raise json_error(web.HTTPBadRequest, "validForInMinutes is a whole number of minutes, such as 1440.")
        answer = self._grants.exchange(jwt, minutes)
        NOTE.get().who = answer.username
        return web.json_response(dict(answer.payload), status=answer.status, headers={"Cache-Control": "no-store"})

    async def impersonate(self, request: web.Request) -> web.Response:
        """A customer's own bearer gets a 401, as documented: the status of a missing permission here."""
        operator = self._accounts.find(NOTE.get().who or "")
        if operator is None or not operator.admin:
            raise json_error(web.HTTPUnauthorized, "Authorization has been denied for this request.")
        number = whole_number(request.query.get("coworkerId", ""))
        if number is None:
            raise json_error(web.HTTPBadRequest, "coworkerId is the number of a coworker.")
        member = self._accounts.find_coworker(number)
        if member is None:
            raise json_error(web.HTTPNotFound, "No account belongs to this coworker.")
        return web.json_response({"token": self.mint(member)}, headers={"Cache-Control": "no-store"})

    async def link_token(self, _: web.Request) -> web.Response:
        """This refreshes nothing, whatever its path says: the token is for a link to a page, and opens nothing here."""
        token = self._accounts.make_link_token()
        value = {"WasSuccessful": True, "Value": token, "Status": 200, "Message": None, "Errors": None}
        return web.json_response(value)

    async def send_otp(self, request: web.Request) -> web.Response:
        """No mail is sent. Whether the account exists is not told."""
        email, now = request.query.get("email", "").lower(), self._clock.monotonic()
        if not email:
            raise json_error(web.HTTPBadRequest, "email is missing.")
        wait = self._mailed.get(email, -_OTP_PAUSE) + _OTP_PAUSE - now
        if wait > 0:
            return web.json_response({"Message": f"Too many requests. Wait {wait:.0f} seconds."}, status=429)
        self._mailed[email] = now
        return web.json_response({"WasSuccessful": True, "Value": None, "Status": 200, "Message": None, "Errors": None})

    def mint(self, user: User, lifetime: float = JWT_LIFETIME) -> str:
        """Return a JWT that signs `user` in once."""
        return self._accounts.one_time.mint(user, user.username, lifetime)

    def forget(self) -> None:
        """Let all JWTs end, and forget the e-mails."""
        self._accounts.one_time.end_all()
        self._mailed.clear()
