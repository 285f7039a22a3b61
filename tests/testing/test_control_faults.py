"""Faults that a program in another language plans, over nothing but HTTP."""

from typing import Any

import aiohttp
import pytest

from .conftest import CUSTOMER, Http


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        ({"kind": "answer", "status": 503}, 503, ""),
        ({"kind": "answer", "status": 502, "body": "<p>", "content_type": "text/html"}, 502, "<p>"),
        ({"kind": "answer", "status": 401, "json": {"Message": "no"}}, 401, '{"Message": "no"}'),
        ({"kind": "throttle"}, 409, '{"Message": "Too many requests."}'),
        ({"kind": "throttle", "status": 429, "in_words": 5}, 429, '{"Message": "Too many requests. Wait 5 seconds."}'),
        ({"kind": "html", "status": 405}, 405, None),
        ({"kind": "silent"}, 200, ""),
        ({"kind": "alter", "members": {"Id": 9}, "without": ["AccessToken", "Email", "FullName"]}, 200, None),
        ({"kind": "delay", "seconds": 0}, 200, None),
    ],
)
async def test_faults_that_answer(http: Http, fault: dict[str, Any], status: int, text: str | None) -> None:
    """Once, and then all is well again."""
    token = (await http.control("POST", "/issue", {}))["access_token"]
    listed = (await http.control("POST", "/faults", {"where": CUSTOMER, **fault}))["faults"]
    assert [(each["where"], each["times"]) for each in listed] == [(CUSTOMER, 1)]
    assert await http.call(token) == status
    assert text is None or http.text == text
    if fault["kind"] == "alter":
        assert http.text == '{"Id": 9, "Active": true}'
    if fault["kind"] == "html":
        assert http.headers["Content-Type"] == "text/html"
    assert (await http.control("GET", "/faults"))["faults"] == []
    assert await http.call(token) == 200


async def test_headers_of_faults(http: Http) -> None:
    """Their own, `Retry-After`, none at all, and a place to go."""
    token = (await http.control("POST", "/issue", {}))["access_token"]
    for fault, name, value in (
        ({"kind": "answer", "status": 500, "headers": {"X-Own": "1"}}, "X-Own", "1"),
        ({"kind": "throttle", "retry_after": 2.5}, "Retry-After", "2.5"),
        ({"kind": "throttle", "retry_after": None}, "Retry-After", None),
    ):
        await http.control("POST", "/faults", {"where": "*", **fault})
        await http.call(token)
        assert http.headers.get(name) == value
    redirect = {"where": "*", "kind": "redirect", "location": f"{http.url}/_emulator/health"}
    await http.control("POST", "/faults", redirect)
    assert await http.call(token) == 200
    assert '"status": "ok"' in http.text


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "drop"}, aiohttp.ServerDisconnectedError),
        ({"kind": "drop", "applied": True}, aiohttp.ServerDisconnectedError),
        ({"kind": "truncate"}, aiohttp.ClientPayloadError),
    ],
)
async def test_faults_that_lose_the_answer(http: Http, fault: dict[str, Any], error: type[Exception]) -> None:
    """Of the token endpoint: with `applied` the tokens were issued all the same."""
    await http.control("PATCH", "/users/ops@example.com", {"password": "pw"})
    await http.control("POST", "/faults", {"where": "token", **fault})
    with pytest.raises(error):
        await http.sign_in("ops@example.com", "pw")
    applied = fault.get("applied", fault["kind"] == "truncate")
    assert (await http.control("GET", "/counts"))["sign_ins"] == int(applied)


async def test_faults_every_time_and_forgotten(http: Http) -> None:
    """Where a path has names, any request of that form."""
    token = (await http.control("POST", "/issue", {}))["access_token"]
    body = {"where": "/api/spaces/coworkers/{Id}", "kind": "answer", "status": 503, "times": None}
    await http.control("POST", "/faults", body)
    assert [await http.call(token, f"/api/spaces/coworkers/{n}") for n in (1, 2, 3)] == [503] * 3
    assert (await http.control("DELETE", "/faults"))["faults"] == []
    assert await http.call(token, "/api/spaces/coworkers/1") == 200


async def test_a_changed_answer_that_has_no_members_is_told(http: Http) -> None:
    """A fault that cannot do what it says must not let a test pass."""
    token = (await http.control("POST", "/issue", {}))["access_token"]
    await http.control("POST", "/faults", {"where": "/api/public/teams/my", "kind": "alter", "members": {"Id": 5}})
    assert await http.call(token, "/api/public/teams/my") == 500
    assert "members of a JSON object" in http.text
    record = (await http.control("GET", "/requests"))["requests"][-1]
    assert "members of a JSON object" in record["remark"]


@pytest.mark.parametrize("kind", ["delay", "truncate"])
async def test_a_404_is_late_and_cut_off_as_any_answer(http: Http, kind: str) -> None:
    """An answer that the service gives by refusing is an answer."""
    token = (await http.control("POST", "/issue", {}))["access_token"]
    more = {"seconds": 0} if kind == "delay" else {}
    await http.control("POST", "/faults", {"where": "/api/nowhere", "kind": kind, **more})
    if kind == "delay":
        assert await http.call(token, "/api/nowhere") == 404
    else:
        with pytest.raises(aiohttp.ClientPayloadError):
            await http.call(token, "/api/nowhere")
