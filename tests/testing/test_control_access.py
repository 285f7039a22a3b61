"""Who may use the control interface and the page, and who may not."""

from collections.abc import Mapping
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from nexudus_async.testing import NexudusEmulator
from nexudus_async.testing._control._access import Access

from .conftest import Client

JSON = {"Content-Type": "application/json"}


def refused(
    access: Access,
    *,
    address: str = "127.0.0.1",
    host: str = "127.0.0.1:8000",
    method: str = "GET",
    headers: Mapping[str, str] = {},
) -> int | None:
    """Return the status that a request from `address` is refused with, None if it is not.

    The address is what a real socket cannot show in a test that stays on loopback.
    """
    transport = Mock()
    transport.get_extra_info.side_effect = lambda name, default=None: (  # pyright: ignore[reportUnknownLambdaType]
        (address, 1) if name == "peername" else default
    )
    known = CIMultiDict({"Host": host, **headers})
    answer = access.refusal(make_mocked_request(method, "/_emulator/health", known, transport=transport))
    return None if answer is None else answer.status


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("127.0.0.1", None),
        ("127.1.2.3", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("::ffff:10.0.0.1", 403),
        ("10.0.0.1", 403),
        ("fe80::1%eth0", 403),
        ("::1%lo", None),
        ("", 403),
    ],
)
def test_only_this_machine_while_it_listens_on_loopback(host: str, address: str, status: int | None) -> None:
    """By the address that the connection comes from."""
    assert refused(Access(host, None), address=address) == status


@pytest.mark.parametrize(
    ("host", "remote_control", "status"),
    [
        ("127.0.0.1", None, 403),
        ("127.0.0.1", True, None),
        ("0.0.0.0", None, None),
        ("0.0.0.0", True, None),
        ("0.0.0.0", False, 403),
        ("emulator.example.com", None, None),
    ],
)
def test_others_where_it_was_told_so(host: str, remote_control: bool | None, status: int | None) -> None:
    """By the host that it listens on, or in so many words."""
    assert refused(Access(host, remote_control), address="10.0.0.1", host="emulator:8000") == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", None),
        ("localhost:8000", None),
        ("LOCALHOST", None),
        ("[::1]:8000", None),
        ("evil.example.com:8000", 403),
        ("127.0.0.1.evil.example.com", 403),
        ("localhost.evil.example.com", 403),
        ("a b", 403),
        ("[", 403),
        ("", 403),
    ],
)
def test_a_name_that_only_points_here_is_not_its_own(host: str, status: int | None) -> None:
    """DNS rebinding: a page's own name may point to this machine."""
    assert refused(Access("127.0.0.1", None), host=host) == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8000", None),
        ("https://evil.example.com", 403),
        ("http://127.0.0.1:8001", 403),
        ("http://127.0.0.1", 403),
        ("null", 403),
        ("", 403),
    ],
)
@pytest.mark.parametrize("access", [Access("127.0.0.1", None), Access("0.0.0.0", None)], ids=["loopback", "open"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_pages_of_other_origins_are_refused(access: Access, method: str, origin: str, status: int | None) -> None:
    """Also where everybody else may."""
    assert refused(access, method=method, headers={**JSON, "Origin": origin}) == status


@pytest.mark.parametrize(
    ("method", "content_type", "status"),
    [
        ("POST", "application/json", None),
        ("POST", "application/json; charset=utf-8", None),
        ("POST", "text/plain", 415),
        ("POST", "application/x-www-form-urlencoded", 415),
        ("POST", None, 415),
        ("PATCH", None, 415),
        ("PUT", "text/plain", 415),
        ("DELETE", None, None),
        ("GET", None, None),
    ],
)
def test_what_changes_something_is_json(method: str, content_type: str | None, status: int | None) -> None:
    """A form or a plain text is all that a page of another origin can send unasked."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    assert refused(Access("127.0.0.1", None), method=method, headers=headers) == status


async def test_a_refusal_says_why_and_changes_nothing(client: Client) -> None:
    """In JSON; no browser is told that it may read it."""
    url = f"{client.emulator.url}/_emulator/users/ops@example.com"
    page = {"Origin": "https://evil.example.com"}
    for method, headers, status in (("DELETE", page, 403), ("PATCH", {"Content-Type": "text/plain"}, 415)):
        async with client.http.request(method, url, headers=headers, data=b'{"password": "x"}') as response:
            assert (response.status, list(await response.json())) == (status, ["Message"])
            assert "Access-Control-Allow-Origin" not in response.headers
    assert client.emulator.users == [client.emulator.user]


async def test_a_browser_is_not_told_that_it_may(client: Client) -> None:
    """The question before a request of another origin is refused."""
    headers = {
        "Origin": "https://evil.example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    for path in ("/_emulator/reset", "/_emulator"):
        async with client.http.options(client.emulator.url + path, headers=headers) as response:
            assert response.status in (403, 415)
            assert not [name for name in response.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("remote_control", [None, False, True])
async def test_the_service_itself_answers_everybody(client: Client, remote_control: bool | None) -> None:
    """The rule is for the control interface; an emulator in a container would be of no use otherwise."""
    async with NexudusEmulator(remote_control=remote_control) as emulator:
        headers = {"Host": "evil.example.com", "Origin": "https://evil.example.com"}
        form = {"grant_type": "password", "username": emulator.username, "password": emulator.password}
        async with client.http.post(f"{emulator.url}/api/token", data=form, headers=headers) as response:
            assert response.status == 200
