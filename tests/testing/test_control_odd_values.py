"""Every member of every body, with every odd value: an answer in JSON, and an emulator that works on."""

import json
from typing import Any, Final

import pytest

from .conftest import Client
from .test_control_input import control

GOOD: Final[dict[str, dict[str, Any]]] = {
    "POST /users": {
        "username": "b@example.com", "password": "b", "totp_secret": None, "suspended": False, "must_reset": False,
        "sso_only": False, "admin": False, "coworker_id": 5_000, "invalid_login_attempts": 0,
    },
    "PATCH /users/ops@example.com": {
        "password": "b", "totp_secret": None, "suspended": False, "must_reset": False, "sso_only": False,
        "admin": False, "invalid_login_attempts": 0, "keep_sessions": True,
    },
    "POST /issue": {"username": "ops@example.com", "client_id": "worker", "lifetime": 60},
    "POST /jwt": {"username": "ops@example.com", "lifetime": 60},
    "POST /revoke": {"what": "all", "username": "ops@example.com"},
    "POST /clock": {"advance": 1},
    "PATCH /settings": {
        "lifetime": 60, "enforce_limits": False, "unknown_account_is_500": False, "post_answers_nothing": False,
        "drop_client_id": False, "lock_after": None, "limits": {},
    },
    "POST /seed": {"users": [], "coworkers": [], "settings": {}, "faults": []},
}  # fmt: skip
FAULTS: Final[dict[str, dict[str, Any]]] = {
    "answer": {"status": 200, "body": "x", "headers": {}, "content_type": "text/plain", "applied": False},
    "delay": {"seconds": 0, "applied": True},
    "drop": {"applied": True},
    "truncate": {"applied": True},
    "throttle": {"status": 409, "retry_after": 1, "in_words": 1},
    "html": {"status": 200, "applied": True},
    "redirect": {"location": "/x", "status": 307},
    "alter": {"members": {}, "without": []},
    "silent": {"status": 200, "applied": True},
}
ODD: Final = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1", "0", "0.5", "1e18", "1e300", "1" + "0" * 400, "1" + "0" * 5_000,
    "true", "null", '""', '"x"', '"é"', '"\\ud800"', '"\\u0000"', '"' + "x" * 5_000 + '"', "[]", "[1]", "{}",
    '{"a": 1}',
)  # fmt: skip
PYTHON = ("Error", "Exceeds", "convert", "codec", "NoneType", "Traceback", "argument")
"""Words of Python's own messages."""
CASES: list[tuple[str, dict[str, Any], str]] = [
    *((endpoint, {}, name) for endpoint, members in GOOD.items() for name in members),
    *(
        ("POST /faults", {"kind": kind, "where": "/api/public/teams/my"}, name)
        for kind, members in FAULTS.items()
        for name in ("where", "kind", "times", *members)
    ),
]


def with_odd(members: dict[str, Any], name: str, value: str) -> bytes:
    whole = json.dumps(members | {name: "odd"})
    return whole.replace('"odd"', value).encode()


@pytest.mark.parametrize(("endpoint", "kind", "name"), CASES, ids=str)
async def test_an_odd_value_is_taken_or_refused_in_words(
    client: Client, endpoint: str, kind: dict[str, Any], name: str
) -> None:
    """Never a 500, nor one later; a refusal is short, and not in Python's words."""
    members = kind | FAULTS[kind["kind"]] if kind else GOOD[endpoint]
    for value in ODD:
        answer = await control(client, endpoint, with_odd(members, name, value))
        message = "" if answer.status in (200, 201) else answer.json["Message"]
        assert answer.status in (200, 201) or 400 <= answer.status < 500, (value, answer.json)
        assert len(message) < 600
        assert not [word for word in PYTHON if word in message], message
        if kind and answer.status == 201 and kind["kind"] not in ("drop", "truncate", "alter"):
            await strike(client)
        if not message:
            assert (await control(client, "GET /state", b"")).status == 200
            await control(client, "POST /reset", b"{}")


async def strike(client: Client) -> None:
    """Let the fault happen, and see that it is what was asked for, or nothing."""
    access_token = client.emulator.issue().access_token
    url = f"{client.emulator.url}/api/public/teams/my"
    headers = {"Authorization": f"Bearer {access_token}"}
    async with client.http.get(url, headers=headers, allow_redirects=False) as response:
        await response.read()
        assert response.status < 500
