# pyright: basic, reportIncompatibleMethodOverride=false, reportArgumentType=false
# pyright: reportOptionalSubscript=false, reportAssignmentType=false
"""Two OAuth servers that others have written, Authlib's and oauthlib's, mounted where Nexudus has its token endpoint.

Each rotates its refresh tokens. Whoever presents a used one is taken for a thief: the whole family of tokens ends
(RFC 9700, section 4.14.2). Neither library has types that fit its own examples.
"""

import json
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from authlib.oauth2.rfc6749 import AuthorizationServer, OAuth2Request, grants
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from oauthlib.oauth2 import LegacyApplicationServer, RequestValidator

USER, PASSWORD = "ops@example.com", "a&b=c+d %é"
TOKEN_URL = "https://localhost/api/token"
"""What the libraries are told, which refuse to work without TLS."""


@dataclass
class Family:
    """What one sign-in has led to. ended: because a used refresh token was presented."""

    client_id: str
    used: set[str] = field(default_factory=set[str])
    ended: bool = False


@dataclass
class Bank:
    """The tokens of one server, whichever library it is made with."""

    lifetime: int
    families: dict[str, Family] = field(default_factory=dict[str, Family])
    access: dict[str, float] = field(default_factory=dict[str, float])
    sign_ins: int = 0
    refreshes: int = 0
    reused: int = 0

    def issue(self, family: Family, access: str, refresh: str) -> None:
        self.families[refresh] = family
        self.access[access] = time.monotonic() + self.lifetime

    def signed_in(self, client_id: str) -> Family:
        self.sign_ins += 1
        return Family(client_id)

    def find(self, refresh: str, client_id: str) -> Family | None:
        """Return the family of a refresh token that is good, and end that of one that was used before."""
        family = self.families.get(refresh)
        if family is None or family.client_id != client_id or family.ended:
            return None
        if refresh in family.used:
            family.ended = True
            self.reused += 1
            return None
        return family

    def use(self, family: Family, refresh: str) -> None:
        family.used.add(refresh)
        self.refreshes += 1


Answer = Callable[[Bank, Mapping[str, str], str], tuple[int, Mapping[str, Any]]]
"""Answers the form of a token request of a `client_id`."""


@asynccontextmanager
async def serve(answer: Answer, bank: Bank) -> AsyncGenerator[str]:
    """Give the origin of a service whose token endpoint is `answer`."""

    async def token(request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        status, document = answer(bank, form, request.headers["client_id"])
        return web.json_response(document, status=status)

    async def customer(request: web.Request) -> web.Response:
        kind, _, access = request.headers.get("Authorization", "").partition(" ")
        good = kind == "Bearer" and bank.access.get(access, 0.0) > time.monotonic()
        return web.json_response({}, status=200 if good else 401)

    app = web.Application()
    app.router.add_post("/api/token", token)
    app.router.add_get("/api/public/billing/customer", customer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


# oauthlib


class _Validator(RequestValidator):  # type: ignore[misc]
    def __init__(self, bank: Bank) -> None:
        super().__init__()
        self._bank = bank

    def client_authentication_required(self, request: Any, *args: Any, **kwargs: Any) -> bool:
        return True

    def authenticate_client(self, request: Any, *args: Any, **kwargs: Any) -> bool:
        request.client = SimpleNamespace(client_id=request.headers["client_id"])
        return True

    def validate_grant_type(self, *args: Any, **kwargs: Any) -> bool:
        return True

    def get_default_scopes(self, *args: Any, **kwargs: Any) -> list[str]:
        return ["all"]

    def validate_scopes(self, *args: Any, **kwargs: Any) -> bool:
        return True

    def get_original_scopes(self, *args: Any, **kwargs: Any) -> list[str]:
        return ["all"]

    def validate_user(self, username: str, password: str, client: Any, request: Any, *args: Any, **kwargs: Any) -> bool:
        if (username, password) != (USER, PASSWORD):
            return False
        request.user = self._bank.signed_in(client.client_id)
        return True

    def validate_refresh_token(self, refresh_token: str, client: Any, request: Any, *args: Any, **kwargs: Any) -> bool:
        request.user = self._bank.find(refresh_token, client.client_id)
        if request.user is not None:
            self._bank.use(request.user, refresh_token)
        return request.user is not None

    def save_bearer_token(self, token: Any, request: Any, *args: Any, **kwargs: Any) -> None:
        self._bank.issue(request.user, token["access_token"], token["refresh_token"])


def oauthlib(bank: Bank, form: Mapping[str, str], client_id: str) -> tuple[int, Mapping[str, Any]]:
    server = LegacyApplicationServer(_Validator(bank), token_expires_in=bank.lifetime)
    _, body, status = server.create_token_response(TOKEN_URL, "POST", urlencode(form), {"client_id": client_id})
    return status, json.loads(body)


# Authlib


class _Request(OAuth2Request):  # type: ignore[misc]
    def __init__(self, form: Mapping[str, str], client_id: str) -> None:
        super().__init__("POST", TOKEN_URL, headers={"client_id": client_id})
        self._fields = dict(form)
        self.payload = BasicOAuth2Payload(self._fields)

    @property
    def form(self) -> dict[str, str]:
        return self._fields


class _Client:
    """A public client, known by the header."""

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id

    def check_grant_type(self, grant_type: str) -> bool:
        return True

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return True

    def get_allowed_scope(self, scope: str) -> str:
        return scope


class _Credential:
    """A refresh token that is good."""

    def __init__(self, family: Family, refresh: str) -> None:
        self.family, self.refresh = family, refresh

    def check_client(self, client: _Client) -> bool:
        return self.family.client_id == client.client_id

    def get_scope(self) -> str:
        return ""


class _Password(grants.ResourceOwnerPasswordCredentialsGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("by header",)

    def authenticate_user(self, username: str, password: str) -> Family | None:
        if (username, password) != (USER, PASSWORD):
            return None
        family: Family = self.server.bank.signed_in(self.request.headers["client_id"])
        return family


class _Refresh(grants.RefreshTokenGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("by header",)
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> _Credential | None:
        family = self.server.bank.find(refresh_token, self.request.headers["client_id"])
        return None if family is None else _Credential(family, refresh_token)

    def authenticate_user(self, credential: _Credential) -> Family:
        return credential.family

    def revoke_old_credential(self, credential: _Credential) -> None:
        self.server.bank.use(credential.family, credential.refresh)


class _Server(AuthorizationServer):  # type: ignore[misc]
    def __init__(self, bank: Bank) -> None:
        super().__init__()
        self.bank = bank
        self.register_client_auth_method("by header", lambda _find, request: _Client(request.headers["client_id"]))
        self.register_token_generator("default", self._generate)
        self.register_grant(_Password)
        self.register_grant(_Refresh)

    def _generate(self, **_about: Any) -> dict[str, Any]:
        tokens = {f"{kind}_token": secrets.token_hex(16) for kind in ("access", "refresh")}
        return {"token_type": "Bearer", "expires_in": self.bank.lifetime, **tokens}

    def query_client(self, client_id: str) -> _Client:
        return _Client(client_id)

    def save_token(self, token: Any, request: Any) -> None:
        self.bank.issue(request.user, token["access_token"], token["refresh_token"])

    def send_signal(self, *args: Any, **kwargs: Any) -> None:
        pass

    def create_oauth2_request(self, request: _Request) -> _Request:
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> tuple[int, Any]:
        return status, body


def authlib(bank: Bank, form: Mapping[str, str], client_id: str) -> tuple[int, Mapping[str, Any]]:
    answer: tuple[int, Mapping[str, Any]] = _Server(bank).create_token_response(_Request(form, client_id))
    return answer
