"""Input that makes no sense, over HTTP and in seed files: what is said, and that nothing was changed by it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from nexudus_async.testing import CONTROL_HELP, SEED_HELP, NexudusEmulator

from .conftest import Answer, Client

PATCH_USER = "PATCH /users/ops@example.com"


async def control(client: Client, endpoint: str, body: bytes, content_type: str = "application/json") -> Answer:
    method, path = endpoint.split()
    url, headers = f"{client.emulator.url}/_emulator{path}", {"Content-Type": content_type}
    async with client.http.request(method, url, data=body, headers=headers) as response:
        return Answer(response.status, response.headers, await response.json())


@pytest.mark.parametrize(
    ("endpoint", "body", "says"),
    [
        ("POST /users", {}, "username of a user is a text that is not empty; it is missing"),
        ("POST /users", {"username": "a"}, "password of a user is a text that is not empty; it is missing"),
        ("POST /users", {"username": "a", "password": 5}, "password of a user is a text that is not empty; not 5"),
        ("POST /users", {"username": "a", "password": ""}, "not an empty text"),
        ("POST /users", {"user": "a"}, "a user has no 'user'; it may have username, password"),
        ("POST /users", [], "a user is an object with any of username, password"),
        ("POST /users", {"username": "a", "password": "b", "coworker_id": 1_001}, "1001 is taken by ops@example.com"),
        (PATCH_USER, {"suspended": "yes"}, "suspended of a change of a user is true or false; not a text"),
        (PATCH_USER, {"totp_secret": "0189"}, "a TOTP secret is base32 text"),
        (PATCH_USER, {"totp_secret": "é"}, "a TOTP secret is base32 text"),
        (PATCH_USER, {"username": "b"}, "a change of a user has no 'username'"),
        (PATCH_USER, {"password": None}, "password of a change of a user is a text that is not empty; not null"),
        ("POST /faults", {"where": "token"}, "kind of a fault is one of answer, delay, drop, truncate"),
        ("POST /faults", {"where": "token", "kind": "x"}, "kind of a fault is one of answer"),
        ("POST /faults", {"kind": "drop"}, "where of a fault of the kind drop is a text"),
        (
            "POST /faults",
            {"where": "teams", "kind": "drop"},
            'where is "token", "*" or a path that begins with a slash',
        ),
        ("POST /faults", {"where": "/_emulator/users", "kind": "drop"}, "the control interface has no faults"),
        ("POST /faults", {"where": "/a/{", "kind": "drop"}, "braces hold a name"),
        ("POST /faults", {"where": "*", "kind": "drop", "times": 0}, "times of a fault of the kind drop is a whole"),
        ("POST /faults", {"where": "*", "kind": "drop", "times": 1.5}, "is a whole number from 1"),
        ("POST /faults", {"where": "*", "kind": "drop", "times": True}, "is a whole number from 1"),
        ("POST /faults", {"where": "*", "kind": "drop", "status": 500}, "a fault of the kind drop has no 'status'"),
        ("POST /faults", {"where": "*", "kind": "answer"}, "status of a fault of the kind answer is a whole number"),
        ("POST /faults", {"where": "*", "kind": "answer", "status": 99}, "a whole number from 200 to 599; not 99"),
        ("POST /faults", {"where": "*", "kind": "answer", "status": 200, "body": "", "json": 1}, "not both"),
        ("POST /faults", {"where": "*", "kind": "answer", "status": 200, "body": 5}, "body of a fault"),
        ("POST /faults", {"where": "*", "kind": "answer", "status": 200, "headers": {"A": "\n"}}, "a text of one line"),
        ("POST /faults", {"where": "*", "kind": "answer", "status": 200, "headers": {"A": 1}}, "a text of one line"),
        ("POST /faults", {"where": "*", "kind": "answer", "status": 200, "headers": []}, "headers of a fault"),
        ("POST /faults", {"where": "*", "kind": "redirect", "location": "a\r\nb"}, "a text of one line"),
        ("POST /faults", {"where": "*", "kind": "delay", "seconds": -1}, "seconds of a fault of the kind delay"),
        ("POST /faults", {"where": "*", "kind": "delay", "seconds": float("nan")}, "JSON has no NaN"),
        ("POST /faults", {"where": "*", "kind": "delay", "seconds": float("inf")}, "JSON has no Infinity"),
        (
            "POST /faults",
            {"where": "*", "kind": "delay", "seconds": 1e11},
            "is a number from 0 to 10000000000; not 100000000000.0",
        ),
        ("POST /faults", {"where": "*", "kind": "answer", "status": 200, "body": "\ud800"}, "half a character"),
        ("POST /faults", {"where": "x" * 9_999, "kind": "drop"}, "slash, not …xxxx"),
        ("POST /faults", {"where": "*", "kind": "alter", "without": "Id"}, "without of a fault of the kind alter"),
        ("POST /revoke", {}, "what of a revocation is one of access, refresh, all; it is missing"),
        ("POST /clock", {"advance": -1}, "advance of a clock is a number from 0 to 10000000000; not -1"),
        ("POST /clock", {"advance": 9e9}, "a clock goes"),
        ("POST /clock", {}, "advance of a clock"),
        ("POST /issue", {"lifetime": 0}, "lifetime of an issue"),
        ("POST /jwt", {"valid_for": 5}, "a JWT has no 'valid_for'; it may have username, lifetime"),
        ("POST /reset", {"users": 1}, "a reset has no 'users'; it may have no members"),
        (
            "PATCH /settings",
            {"lifetime": "1h"},
            "lifetime of settings is a number from 0.001 to 10000000000; not a text",
        ),
        ("PATCH /settings", {"lock_after": 0}, "lock_after of settings is a whole number"),
        ("PATCH /settings", {"limits": {"api": [{"count": 1}]}}, "seconds of a rate is a number"),
        ("PATCH /settings", {"limits": {"api": 5}}, "api of limits is a list; not 5"),
        ("PATCH /settings", {"limits": {"apis": []}}, "limits has no 'apis'; it may have api, writes"),
        ("PATCH /settings", {"limits": {"api": [{"count": 1, "seconds": 1, "refill": "x"}]}}, "one of sliding, window"),
        ("POST /seed", {"users": {}}, "users of a seed is a list; not an object"),
        ("POST /seed", {"coworkers": [1]}, 'a coworker is an object, such as {"Id": 1'),
        ("POST /seed", {"coworkers": [{"FullName": "x"}]}, "Id of a coworker is a whole number"),
        ("POST /seed", {"coworkers": [{"Id": 1, "UpdatedOn": "now"}]}, "a time such as 2026-01-31T08:00:00Z"),
        ("POST /seed", {"user": []}, "a seed has no 'user'"),
        ("GET /requests?since=x", None, "since of the query is a whole number"),
        ("GET /requests?sinse=1", None, "the query has no 'sinse'; it may have since, path, limit"),
        ("GET /users/ops@example.com/totp", None, "has no two-factor secret"),
    ],
)
async def test_what_makes_no_sense_is_a_400_that_says_what_to_write(
    client: Client, endpoint: str, body: Any, says: str
) -> None:
    """And the emulator is as it was."""
    before = await state(client)
    answer = await control(client, endpoint, b"" if body is None else json.dumps(body).encode())
    assert answer.status == 400, answer.json
    assert says in answer.json["Message"]
    assert await state(client) == before


async def state(client: Client) -> Any:
    answer = (await control(client, "GET /state", b"")).json
    return {key: value for key, value in answer.items() if key != "now"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "the body is JSON; at line 1, column 2"),
        (b"\xff", "the body is JSON in UTF-8"),
        (b"[" * 100_000, "not as deep as that"),
        (b'"text"', "a user is an object"),
        (b"null", "a user is an object with any of"),
        (b'{"username": NaN}', "JSON has no NaN"),
        (b'{"coworker_id": 1e999}', "a number is too large"),
        (b'{"coworker_id": 1' + b"0" * 5_000 + b"}", "a number is too large"),
        (b'{"coworker_id": 1' + b"0" * 300 + b"}", "not one that large"),
    ],
)
async def test_what_is_no_json(client: Client, body: bytes, says: str) -> None:
    """A 400 that says where."""
    answer = await control(client, "POST /users", body)
    assert (answer.status, says in answer.json["Message"]) == (400, True)


async def test_an_unknown_charset(client: Client) -> None:
    """A 400, too."""
    answer = await control(client, "POST /users", b"{}", "application/json; charset=nonsense")
    assert (answer.status, answer.json["Message"]) == (400, "the body is JSON in UTF-8")


async def test_a_secret_in_the_wrong_place_is_not_shown(client: Client) -> None:
    """Kinds are named, not values."""
    answer = await control(client, "POST /faults", json.dumps({"where": "*", "kind": "my-password"}).encode())
    assert "my-password" not in answer.json["Message"]


@pytest.mark.parametrize(
    ("endpoint", "status"),
    [
        ("GET /users/nobody@example.com", 404),
        ("PATCH /users/nobody@example.com", 404),
        ("DELETE /users/nobody@example.com", 404),
        ("GET /nothing", 404),
        ("DELETE /health", 405),
        ("PUT /users", 405),
    ],
)
async def test_what_is_not_there(client: Client, endpoint: str, status: int) -> None:
    """404 and 405, with JSON."""
    answer = await control(client, endpoint, b"{}")
    assert answer.status == status
    assert answer.json["Message"]


async def test_a_change_is_made_whole_or_not_at_all(client: Client) -> None:
    """A good part beside a bad one changes nothing."""
    user = client.emulator.user
    changes: list[tuple[str, dict[str, Any]]] = [
        (PATCH_USER, {"suspended": True, "password": "new", "admin": 5}),
        ("PATCH /settings", {"lifetime": 5, "limits": {"api": [{}]}}),
        ("POST /seed", {"settings": {"lifetime": 5}, "faults": [{"where": "x", "kind": "drop"}]}),
        ("POST /seed", {"users": [{"username": "b", "password": "b"}], "settings": {"lifetime": "x"}}),
    ]
    for endpoint, body in changes:
        assert (await control(client, endpoint, json.dumps(body).encode())).status == 400
    assert (user.suspended, user.password == "new", client.emulator.lifetime) == (False, False, 604_799)
    assert client.emulator.users == [user]


def test_the_help_is_complete() -> None:
    """Every endpoint stands in it, and none that there is not."""
    control = NexudusEmulator()._control  # pyright: ignore[reportPrivateUsage]
    served = {f"{method} {path}" for method, path in control.handlers()} - {"GET /", "GET /_emulator/state"}
    written = {" ".join(line) for line in re.findall(r"^  (GET|POST|PATCH|DELETE) +(/\S+)", CONTROL_HELP, re.MULTILINE)}
    assert written == served
    assert max(len(line) for line in CONTROL_HELP.splitlines()) <= 120


def seed_file(folder: Path, text: str) -> Path:
    path = folder / "seed.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_seed_in_the_help_is_one(tmp_path: Path) -> None:
    """From a file, by its name or its path; users of a name that is there are replaced."""
    path = seed_file(tmp_path, SEED_HELP[SEED_HELP.index("{") : SEED_HELP.rindex("}") + 1])
    for source in (path, str(path), json.loads(path.read_text(encoding="utf-8"))):
        emulator = NexudusEmulator()
        emulator.load_seed(source)
        assert [user.username for user in emulator.users] == ["ops@example.com", "robot@example.com", "sso@example.com"]
        assert (emulator.password, emulator.user.admin, emulator.users[2].sso_only) == ("secret", True, True)
        assert [each["FullName"] for each in emulator.coworkers] == ["Ada"]
        assert (emulator.lifetime, emulator.enforce_limits, len(emulator.faults)) == (3_600, True, 1)
        assert emulator.totp_code("robot@example.com").isdigit()


@pytest.mark.parametrize(("text", "says"), [("{", "column 2"), ("[]", "a seed is an object"), ('{"x":1}', "no 'x'")])
def test_a_seed_file_that_is_none_says_which_and_why(tmp_path: Path, text: str, says: str) -> None:
    """A `ValueError`; a file that is not there is an `OSError`."""
    path = seed_file(tmp_path, text)
    with pytest.raises(ValueError, match=re.escape(str(path)) + ".*" + re.escape(says)):
        NexudusEmulator().load_seed(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="UTF-8"):
        NexudusEmulator().load_seed(path)
    with pytest.raises(FileNotFoundError):
        NexudusEmulator().load_seed(tmp_path / "none.json")
