"""The emulator as a program in another language meets it: an address, and nothing but HTTP."""

from typing import Any

from nexudus_async.testing import CONTROL_HELP

from .conftest import CUSTOMER, Http

TOTP_SECRET = "JBSWY3DPEHPK3PXP"


async def test_health_and_help(http: Http) -> None:
    """For a health check, and for whoever has no documentation at hand."""
    answer = await http.control("GET", "/health")
    assert {"status": "ok", "url": http.url, "users": 1, "ahead": 0} == {
        key: answer[key] for key in ("status", "url", "users", "ahead")
    }
    assert http.headers["Cache-Control"] == "no-store"
    await http.ask("GET", "/_emulator")
    assert http.text == CONTROL_HELP


async def test_users_are_added_changed_and_removed(http: Http) -> None:
    """And sign in as they are then; no answer shows a password or a secret."""
    secret = {"username": "A@example.com", "password": "first", "totp_secret": TOTP_SECRET, "admin": True}
    added = await http.control("POST", "/users", secret)
    assert http.status == 201
    assert added == {
        "username": "A@example.com",
        "coworker_id": 1_002,
        "two_factor": True,
        "suspended": False,
        "must_reset": False,
        "sso_only": False,
        "admin": True,
        "invalid_login_attempts": 0,
    }
    assert (await http.sign_in("a@example.com", "first"))["error"] == "two_factor_auth_check"
    code = (await http.control("GET", "/users/a@example.com/totp"))["code"]
    session = await http.sign_in("a@example.com", "first", totp=code)
    assert http.status == 200

    changed = await http.control("PATCH", "/users/a%40example.com", {"password": "second", "totp_secret": None})
    assert changed["two_factor"] is False
    assert await http.call(session["access_token"]) == 401
    assert (await http.form(grant_type="refresh_token", refresh_token=session["refresh_token"]))["error"]
    session = await http.sign_in("a@example.com", "second")
    await http.control("PATCH", "/users/a@example.com", {"password": "third", "keep_sessions": True})
    assert await http.call(session["access_token"]) == 200
    assert (await http.sign_in("a@example.com", "second"))["error"] == "invalid_grant"
    assert (await http.control("GET", "/users/a@example.com"))["invalid_login_attempts"] == 1

    assert (await http.control("PATCH", "/users/a@example.com", {"admin": False}))["invalid_login_attempts"] == 1
    changed = await http.control("PATCH", "/users/a@example.com", {"invalid_login_attempts": 5})
    assert (changed["admin"], changed["invalid_login_attempts"]) == (False, 5)

    for change, error in (
        ({"must_reset": True}, "must_reset_password"),
        ({"sso_only": True}, "invalid_grant"),
        ({"suspended": True}, "invalid_grant"),
    ):
        await http.control("PATCH", "/users/a@example.com", change)
        assert (await http.sign_in("a@example.com", "third"))["error"] == error
    users = await http.control("GET", "/users")
    assert [user["username"] for user in users["users"]] == ["ops@example.com", "A@example.com"]
    users = await http.control("DELETE", "/users/a@example.com")
    assert [user["username"] for user in users["users"]] == ["ops@example.com"]


async def test_a_new_secret_has_codes_of_its_own(http: Http) -> None:
    """Also where it is the old one: what was used up may be used again."""
    await http.control("PATCH", "/users/ops@example.com", {"password": "pw"})
    for _ in range(2):
        await http.control("PATCH", "/users/ops@example.com", {"totp_secret": TOTP_SECRET})
        code = (await http.control("GET", "/users/ops@example.com/totp"))["code"]
        await http.sign_in("ops@example.com", "pw", totp=code)
        assert http.status == 200


async def test_a_new_password_may_have_to_be_reset_at_once(http: Http) -> None:
    """Only if the same change says so."""
    await http.control("PATCH", "/users/ops@example.com", {"must_reset": True})
    assert (await http.control("PATCH", "/users/ops@example.com", {"password": "x"}))["must_reset"] is False
    changed = await http.control("PATCH", "/users/ops@example.com", {"password": "x", "must_reset": True})
    assert changed["must_reset"] is True


async def test_tokens_are_minted_shown_and_revoked(http: Http) -> None:
    """`issue` and `jwt` give them in full, `sessions` the last four characters and the remaining life."""
    await http.control("POST", "/issue", {"client_id": "worker", "lifetime": 30})
    pair = await http.control("POST", "/issue", {"client_id": "worker", "lifetime": 60})
    assert (http.status, pair["client_id"], pair["expires_in"]) == (201, "worker", 60)
    assert await http.call(pair["access_token"]) == 200
    (session,) = (await http.control("GET", "/sessions"))["sessions"]
    assert (session["username"], session["client_id"], session["older"]) == ("ops@example.com", "worker", 1)
    assert session["access"]["token"] == "…" + pair["access_token"][-4:]
    assert 50 < session["access"]["expires_in"] <= 60 == session["access"]["lifetime"]
    assert session["refresh"]["lifetime"] == 15 * 86_400
    assert pair["access_token"] not in http.text
    await http.control("POST", "/clock", {"advance": 30})
    assert (await http.control("GET", "/sessions"))["sessions"][0]["older"] == 0
    assert pair["refresh_token"] not in http.text

    await http.control("POST", "/revoke", {"what": "access", "username": "OPS@example.com"})
    assert await http.call(pair["access_token"]) == 401
    refreshed = await http.form(grant_type="refresh_token", refresh_token=pair["refresh_token"], client_id="worker")
    assert http.status == 200
    await http.control("POST", "/revoke", {"what": "refresh"})
    assert await http.call(refreshed["access_token"]) == 200
    assert (await http.control("POST", "/revoke", {"what": "all"}))["sessions"] == []
    assert await http.call(refreshed["access_token"]) == 401


async def test_users_of_one_client_id_are_told_apart(http: Http) -> None:
    """Its refresh token is the last one's; the access tokens live on, each its user's."""
    await http.control("POST", "/users", {"username": "b@example.com", "password": "b"})
    for username in ("ops@example.com", "b@example.com"):
        await http.control("POST", "/issue", {"username": username, "client_id": "worker"})
    sessions = (await http.control("GET", "/sessions"))["sessions"]
    assert [(each["username"], each["older"], each["refresh"] is None) for each in sessions] == [
        ("b@example.com", 0, False),
        ("ops@example.com", 0, True),
    ]


async def test_a_magic_link(http: Http) -> None:
    """A JWT, good for one exchange."""
    jwt = (await http.control("POST", "/jwt", {"username": "ops@example.com", "lifetime": 60}))["token"]
    path = f"/api/sys/users/exchange?token={jwt}&validForInMinutes=1440"
    session = await http.ask("POST", path)
    assert await http.call(session["token"]) == 200
    await http.ask("POST", path)
    assert http.status == 401
    assert (await http.control("GET", "/counts"))["exchanges"] == 1
    record = (await http.control("GET", "/requests"))["requests"][0]
    assert record["query"] == [["token", "…" + jwt[-4:]], ["validForInMinutes", "1440"]]


async def test_the_clock_moves(http: Http) -> None:
    """Tokens age; there and in the health it shows how far it is ahead."""
    token = (await http.control("POST", "/issue", {"lifetime": 3_600}))["access_token"]
    before = (await http.control("GET", "/clock"))["now"]
    assert (await http.control("POST", "/clock", {"advance": 3_599}))["ahead"] == 3_599
    assert await http.call(token) == 200
    assert (await http.control("POST", "/clock", {"advance": 1}))["now"] > before
    assert await http.call(token) == 401


async def test_the_record(http: Http) -> None:
    """In order of arrival, by number and by path, without a secret; forgotten when asked to."""
    await http.control("PATCH", "/users/ops@example.com", {"password": "pw-of-ops-at-16"})
    session = await http.sign_in("ops@example.com", "pw-of-ops-at-16", client_id="worker")
    token = session["access_token"]
    await http.call(token, f"/api/spaces/coworkers?q={token}")
    await http.call(token)
    records = (await http.control("GET", "/requests"))["requests"]
    assert not [secret for secret in (token, session["refresh_token"], "pw-of-ops-at-16") if secret in http.text]
    sign_in, listing, call = records
    expected: dict[str, Any] = {
        "method": "POST",
        "path": "/api/token",
        "query": [],
        "status": 200,
        "who": "ops@example.com",
        "client_id": "worker",
        "grant_type": "password",
        "authorization": None,
        "in_flight": False,
        "remark": None,
    }
    assert {key: sign_in[key] for key in expected} == expected
    assert sign_in["milliseconds"] >= 0
    assert sign_in["at"].endswith("Z")
    assert listing["query"] == [["q", "…" + token[-4:]]]
    assert "unknown filter 'q'" in listing["remark"]
    assert (call["path"], call["authorization"]) == (CUSTOMER, "Bearer …" + token[-4:])
    assert [sign_in["number"], listing["number"], call["number"]] == [1, 2, 3]
    for query, found in (
        ("?since=1", [2, 3]),
        ("?limit=1", [3]),
        ("?path=/api/token", [1]),
        ("?since=1&path=/api/token", []),
    ):
        assert [each["number"] for each in (await http.control("GET", "/requests" + query))["requests"]] == found
    assert (await http.control("GET", "/counts"))["requests"] == 3
    assert (await http.control("DELETE", "/requests"))["requests"] == 0
    assert (await http.control("GET", "/requests"))["requests"] == []
    await http.call(token)
    assert (await http.control("GET", "/requests"))["requests"][0]["number"] == 4


async def test_a_secret_in_a_path_is_masked_however_it_is_spelt(http: Http) -> None:
    """Also one that looks encoded when it is decoded."""
    await http.control("PATCH", "/users/ops@example.com", {"password": "pw-of-ops-at-100%25"})
    await http.call("nothing", "/api/pw-of-ops-at-100%2525")
    (record,) = (await http.control("GET", "/requests"))["requests"]
    assert record["path"] == "/api/…0%25"


async def test_settings(http: Http) -> None:
    """Any of them, the others stay; what was shown can be sent back."""
    before = await http.control("GET", "/settings")
    assert (before["lifetime"], before["enforce_limits"], before["limits"]["status"]) == (604_799, False, 409)
    limits = {"api": [{"count": 1, "seconds": 60, "refill": "window"}], "status": 429}
    change = {"lifetime": 60, "enforce_limits": True, "lock_after": 3, "limits": limits}
    after = await http.control("PATCH", "/settings", change)
    assert {key: after[key] for key in ("lifetime", "enforce_limits", "lock_after")} == {
        "lifetime": 60,
        "enforce_limits": True,
        "lock_after": 3,
    }
    assert after["limits"] == {**before["limits"], **limits}
    assert await http.control("PATCH", "/settings", after) == after
    assert await http.control("PATCH", "/settings", {"limits": {"status": 429}}) == after
    token = (await http.control("POST", "/issue", {}))["access_token"]
    assert [await http.call(token) for _ in range(2)] == [200, 429]
    assert await http.control("PATCH", "/settings", before) == before


async def test_a_seed_and_a_reset(http: Http) -> None:
    """What a suite does between two of its tests: all is as at the start, which the seed was not part of."""
    seed = {
        "users": [{"username": "b@example.com", "password": "pw"}],
        "coworkers": [{"Id": 7, "FullName": "Ada", "UpdatedOn": "2026-01-31T08:00:00Z"}],
        "settings": {"lifetime": 60},
        "faults": [{"where": "token", "kind": "answer", "status": 503}],
    }
    assert (await http.control("POST", "/seed", seed))["users"] == 2
    await http.sign_in("b@example.com", "pw")
    assert http.status == 503
    session = await http.sign_in("b@example.com", "pw")
    assert session["expires_in"] == 60
    assert await http.call(session["access_token"], "/api/spaces/coworkers/7") == 200
    await http.control("POST", "/clock", {"advance": 10})
    await http.control("POST", "/faults", {"where": "*", "kind": "drop"})

    answer = await http.control("POST", "/reset", {})
    assert (answer["users"], answer["ahead"]) == (1, 0)
    assert await http.call(session["access_token"]) == 401
    assert (await http.control("GET", "/settings"))["lifetime"] == 604_799
    assert (await http.control("GET", "/faults"))["faults"] == []
    token = (await http.control("POST", "/issue", {}))["access_token"]
    assert await http.call(token, "/api/spaces/coworkers/60") == 200
    assert (await http.control("GET", "/counts"))["requests"] == 2


async def test_the_control_interface_leaves_no_trace(http: Http) -> None:
    """Neither in the record nor in the counts, and no fault strikes it."""
    await http.control("POST", "/faults", {"where": "*", "kind": "answer", "status": 503, "times": None})
    await http.control("GET", "/state")
    await http.ask("GET", "/")
    assert http.status == 200
    assert (await http.control("GET", "/counts"))["requests"] == 0


async def test_nobody_named_is_the_first_of_those_there_are(http: Http) -> None:
    """Also when the one from the start has gone; with nobody at all that is said."""
    await http.control("POST", "/users", {"username": "b@example.com", "password": "b"})
    await http.control("DELETE", "/users/ops@example.com")
    for endpoint in ("/issue", "/jwt"):
        await http.control("POST", endpoint, {})
    assert [each["username"] for each in (await http.control("GET", "/sessions"))["sessions"]] == ["b@example.com"]
    await http.control("DELETE", "/users/b@example.com")
    for endpoint in ("/issue", "/jwt"):
        answer = await http.ask("POST", "/_emulator" + endpoint, {})
        assert http.status == 404
        assert answer["Message"].endswith("there are no users: add one first")


async def test_a_message_about_users_is_short_however_many_there_are(http: Http) -> None:
    """It names ten."""
    users = [{"username": f"u{number}@example.com", "password": "x"} for number in range(1_000)]
    await http.control("POST", "/seed", {"users": users})
    answer = await http.ask("GET", "/_emulator/users/nobody")
    assert http.status == 404
    assert answer["Message"].endswith("u8@example.com and 991 more")


async def test_a_wrong_address_tells_where_the_list_is(http: Http) -> None:
    """With a slash too many, for one."""
    answer = await http.ask("GET", "/_emulator/")
    assert (http.status, "GET /_emulator lists all" in answer["Message"]) == (404, True)
