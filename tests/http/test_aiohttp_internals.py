"""What the package needs of aiohttp's private parts is there, in one file, and the package lives without it."""

import ast
import importlib
import inspect
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from yarl import URL

from nexudus_async._http import aiohttp_internals as internals
from nexudus_async._token import Secret
from nexudus_async.testing import NexudusEmulator
from tests.conftest import Connect


def arguments_of(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters) - {"self"}


@asynccontextmanager
async def token_session_of(**options: Any) -> AsyncGenerator[tuple[aiohttp.ClientSession, aiohttp.ClientSession]]:
    """Yield a session with these options, and its like for token requests."""
    async with aiohttp.ClientSession(**options) as session:
        like = internals.token_session_like(session)
        assert like is not None
        async with like:
            yield session, like


# -- aiohttp as it is installed here: these fail when it changes ---------------------------------------------------

SESSION_VALUES = {
    "read_bufsize": 2**14,
    "max_line_size": 10_001,
    "max_field_size": 10_002,
    "max_headers": 1_003,
    "proxy": "http://127.0.0.1:9",
    "proxy_auth": ("a", "b"),
    "ssl": False,
}
"""A value for the constructor's argument behind each of `SESSION_SETTINGS`, in their order."""
SESSION_PUBLIC = {
    "headers", "json_serialize", "requote_redirect_url", "skip_auto_headers", "trace_configs", "trust_env", "version",
}  # fmt: skip
SESSION_NOT_FOR_TOKENS = {
    "auth", "auto_decompress", "base_url", "conn_timeout", "connector", "connector_owner", "cookie_jar", "cookies",
    "fallback_charset_resolver", "json_serialize_bytes", "loop", "middlewares", "raise_for_status", "read_timeout",
    "request_class", "response_class", "ssl_shutdown_timeout", "timeout", "ws_response_class",
}  # fmt: skip
CONNECTOR_NOT_FOR_TOKENS = {
    "dns_cache_max_size", "enable_cleanup_closed", "fingerprint", "force_close", "keepalive_timeout", "limit",
    "limit_per_host", "loop", "ssl_context", "ttl_dns_cache", "verify_ssl",
}  # fmt: skip
"""About the pool and the cache of names, or merged into `ssl`."""


def test_every_argument_of_a_session_is_known() -> None:
    """A new one has to be looked at: does it hold for token requests?"""
    known = SESSION_VALUES.keys() | SESSION_PUBLIC | SESSION_NOT_FOR_TOKENS
    assert arguments_of(aiohttp.ClientSession) <= known


def test_every_argument_of_a_connector_is_known() -> None:
    """As for a session."""
    settings = {name.removeprefix("_") for name in internals.CONNECTOR_SETTINGS + internals.CONNECTOR_EXTRAS}
    known = settings | {"local_addr", "use_dns_cache"} | CONNECTOR_NOT_FOR_TOKENS
    assert arguments_of(aiohttp.TCPConnector) <= known


@pytest.mark.filterwarnings("ignore:The 'proxy_auth' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("argument", "name"), [*zip(SESSION_VALUES, internals.SESSION_SETTINGS, strict=True)])
async def test_a_private_setting_of_a_lent_session_holds_for_token_requests(argument: str, name: str) -> None:
    """Limits, proxy, TLS: whatever this aiohttp knows of them."""
    if argument not in arguments_of(aiohttp.ClientSession):
        pytest.skip(f"this aiohttp has no {argument}=")
    async with token_session_of(**{argument: SESSION_VALUES[argument]}) as (session, like):
        assert getattr(session, name) == getattr(like, name) == SESSION_VALUES[argument]


async def test_a_public_setting_of_a_lent_session_holds_for_token_requests() -> None:
    """Headers, HTTP version and the like."""
    settings: dict[str, Any] = {
        "version": aiohttp.HttpVersion10,
        "skip_auto_headers": frozenset({"User-Agent"}),
        "requote_redirect_url": False,
        "json_serialize": repr,
        "trust_env": True,
        "trace_configs": [aiohttp.TraceConfig()],
    }
    async with token_session_of(headers={"X-A": "1"}, **settings) as (_, like):
        assert {name: getattr(like, name) for name in settings} == settings
        assert like.headers == {"X-A": "1"}
    assert {"headers", *settings} == SESSION_PUBLIC


async def test_a_lent_connector_has_a_like_one_with_a_pool_of_its_own() -> None:
    """TLS, names, addresses and sockets are those of the lent one."""

    def make_socket(info: Any) -> socket.socket:
        return socket.socket(*info[:3])

    given: dict[str, Any] = {
        "ssl": ssl.create_default_context(), "resolver": aiohttp.ThreadedResolver(), "family": socket.AF_INET,
        "happy_eyeballs_delay": 0.5, "interleave": 2, "local_addr": ("127.0.0.1", 0), "socket_factory": make_socket,
        "timeout_ceil_threshold": 7, "use_dns_cache": False,
    }  # fmt: skip
    async with token_session_of(connector=aiohttp.TCPConnector(**given)) as (session, like):
        lent, own = session.connector, like.connector
        assert isinstance(lent, aiohttp.TCPConnector)
        assert isinstance(own, aiohttp.TCPConnector)
        for name in internals.CONNECTOR_SETTINGS + internals.CONNECTOR_EXTRAS:
            if name != "_ssl_shutdown_timeout" or "ssl_shutdown_timeout" in arguments_of(aiohttp.TCPConnector):
                assert getattr(own, name) == getattr(lent, name)
        assert own is not lent
        assert own.force_close
        assert not own.use_dns_cache


async def test_a_unix_connector_has_a_like_one() -> None:
    """On the same path."""
    async with token_session_of(connector=aiohttp.UnixConnector("/nowhere.sock")) as (_, like):
        assert isinstance(like.connector, aiohttp.UnixConnector)
        assert like.connector.path == "/nowhere.sock"
        assert like.connector.force_close


def test_the_names_that_types_need_are_there() -> None:
    """They are imported by type checkers only."""
    release = tuple(int(part) for part in aiohttp.__version__.split(".")[:2])
    needed = {"client": {"_RequestOptions"}, "connector": {"Connection"}, "typedefs": {"LooseHeaders"}}
    if release >= (3, 14):  # before, a type checker lets every keyword pass
        needed["client"].add("_WSConnectOptions")
    for module, names in needed.items():
        assert names <= vars(importlib.import_module(f"aiohttp.{module}")).keys()


async def can_be_held_back() -> bool:
    """Return whether a real request of ours would be held back."""
    found: list[bool] = []

    async def look(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        found.append(internals._can_be_held_back(request))  # pyright: ignore[reportPrivateUsage]
        return await handler(request)

    headers = {"Authorization": Secret("Bearer x")}
    async with (
        NexudusEmulator() as emulator,
        aiohttp.ClientSession(middlewares=(look,), headers=headers) as http,
        http.post(emulator.url, data=b"x"),
    ):
        return found[0]


async def test_a_request_of_ours_can_be_held_back() -> None:
    """Its body and its upload tracker are where they are looked for."""
    assert await can_be_held_back()


async def test_a_request_whose_upload_tracker_cannot_be_seen_is_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """In an aiohttp that keeps it elsewhere: it might be begun twice."""
    monkeypatch.setattr(aiohttp, "UploadTracker", object, raising=False)
    monkeypatch.setattr(internals, "UPLOAD_TRACKER", "_gone")
    assert not await can_be_held_back()


async def test_a_request_whose_body_would_be_closed_is_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """In an aiohttp that keeps it elsewhere: there would be nothing left to send. (3.12.0 closes none.)"""
    monkeypatch.setattr(internals, "BODY", "_gone")
    assert await can_be_held_back() != isinstance(aiohttp.ClientRequest.body, property)


async def test_without_upload_trackers_a_request_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """In an aiohttp before 3.14 no request keeps one, and each can be held back."""
    monkeypatch.delattr(aiohttp, "UploadTracker", raising=False)
    monkeypatch.setattr(internals, "UPLOAD_TRACKER", "_gone")
    assert await can_be_held_back()


@pytest.mark.parametrize("empty", [True, False])
def test_an_object_for_no_body_is_none(empty: bool) -> None:
    """In aiohttp 4 a request without a body has one that is not false, and that is nothing to send again."""
    nothing, body = object(), object()
    request = SimpleNamespace(method="GET", url=None, body=nothing if empty else body, _EMPTY_BODY=nothing)
    held = internals._held_back(request)  # pyright: ignore[reportPrivateUsage]
    assert held.body == (b"" if empty else body)


async def test_a_lent_session_without_names_that_are_gone_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An aiohttp without `auth=`, or one that keeps its base_url elsewhere."""
    async with aiohttp.ClientSession() as lent:
        if hasattr(aiohttp.ClientSession, "auth"):
            monkeypatch.delattr(aiohttp.ClientSession, "auth")
        monkeypatch.delattr(lent, "_base_url")
        internals.check_borrowed(lent, URL("https://spaces.nexudus.com"))


async def test_settings_that_are_gone_are_aiohttps_defaults(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the sign-in goes on."""
    monkeypatch.setattr(internals, "SESSION_SETTINGS", ("_gone",))
    monkeypatch.setattr(internals, "CONNECTOR_EXTRAS", ("_gone",))
    async with aiohttp.ClientSession(read_bufsize=2**14) as lent:
        session = await connect(client_session=lent)
        assert await session.token()


async def test_a_lent_session_serves_itself_where_its_connector_cannot_be_read(
    emulator: NexudusEmulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address or its TLS settings may be what makes the service reachable."""
    monkeypatch.setattr(internals, "CONNECTOR_SETTINGS", ("_gone",))
    async with aiohttp.ClientSession(headers={"X-Lent": "1"}) as lent:
        assert internals.token_session_like(lent) is None
        session = await connect(client_session=lent)
        assert await session.token()
        assert emulator.token_requests[0].headers["X-Lent"] == "1"


# -- one file ------------------------------------------------------------------------------------------------------

PUBLIC_MODULES = {"abc", "hdrs", "web"}
SUBCLASSED = {"ClientError", "ClientResponse"}
"""The root of our errors, and a stand-in for users' tests that asks aiohttp's signature."""


PRIVATE_NAMES = {
    name
    for file in ("client", "client_reqrep", "connector", "payload")
    for name in re.findall(r"\._[a-z]\w*", Path(aiohttp.__file__).with_name(f"{file}.py").read_text(encoding="utf-8"))
} - {"._replace"}
"""`._name`, for every attribute that aiohttp's client has for itself; `_replace` is a public method of a NamedTuple."""


def private_uses(tree: ast.Module) -> Iterator[str]:
    """Yield what a file uses of aiohttp that is not public, and what could reach it."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names if each.name.startswith("aiohttp."))
            case ast.ImportFrom(module="aiohttp", names=names):
                yield from (each.name for each in names if each.name not in {*aiohttp.__all__, *PUBLIC_MODULES})
            case ast.ImportFrom(module=str(module)) if module.startswith("aiohttp."):
                if module.removeprefix("aiohttp.") not in PUBLIC_MODULES:
                    yield module
            case ast.Attribute(value=ast.Name("aiohttp"), attr=name) if name not in aiohttp.__all__:
                yield f"aiohttp.{name}"
            case ast.Attribute(value=ast.Name("self" | "cls")):
                pass
            case ast.Attribute(attr=name) if f".{name}" in PRIVATE_NAMES:
                yield ast.unparse(node)
            case ast.Call(func=ast.Name("vars")):
                yield ast.unparse(node)
            case ast.Call(func=ast.Name("getattr" | "setattr" | "hasattr" | "delattr"), args=[_, named, *_]):
                if f".{getattr(named, 'value', None)}" in PRIVATE_NAMES:
                    yield ast.unparse(node)
            case ast.ClassDef(bases=[ast.Attribute(value=ast.Name("aiohttp"), attr=base), *_]):
                if base not in SUBCLASSED:
                    yield f"class {node.name}(aiohttp.{base})"
            case _:
                pass


@pytest.mark.parametrize(
    "source",
    [
        "import aiohttp.helpers",
        "from aiohttp.client import _RequestOptions",
        "from aiohttp import connector",
        "aiohttp.connector.Connection",
        "session._default_proxy",
        "vars(session)['_default_proxy']",
        "getattr(session, '_request')",
        "class Mine(aiohttp.TCPConnector): ...",
    ],
)
def test_the_search_for_private_parts_finds(source: str) -> None:
    """What the next test would not let pass."""
    assert list(private_uses(ast.parse(source)))


def test_no_other_file_reads_private_parts_of_aiohttp() -> None:
    """One file's work when aiohttp changes."""
    package = Path(internals.__file__).parents[1]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in package.rglob("*.py")}
    found = {path.name: list(private_uses(tree)) for path, tree in trees.items() if "aiohttp" in ast.unparse(tree)}
    assert found.pop("transport.py") == ["aiohttp.http_exceptions", "class Form(aiohttp.BytesPayload)"]  # both public
    found = {name: uses for name, uses in found.items() if uses}
    assert found.keys() == {Path(internals.__file__).name}, found
