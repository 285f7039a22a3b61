"""The list of coworkers: order, filters, "changed since", one by its Id, the writes."""

from typing import Any

import pytest

from nexudus_async.testing import ManualClock

from .conftest import Answer, Client

COWORKERS = "/api/spaces/coworkers"


@pytest.fixture
async def token(client: Client) -> str:
    return client.emulator.issue().access_token


def numbers(answer: Answer) -> list[int]:
    return [record["Id"] for record in answer.json["Records"]]


async def test_one_by_its_id(client: Client, token: str) -> None:
    """As the list has it; 404 with JSON where there is none."""
    first = (await client.call(f"{COWORKERS}?size=1", token)).json["Records"][0]
    assert (await client.call(f"{COWORKERS}/{first['Id']}", token)).json == first
    missing = await client.call(f"{COWORKERS}/999", token)
    assert (missing.status, missing.json) == (404, {"Message": "No coworker has this Id."})
    assert (await client.call(f"{COWORKERS}/1", None)).status == 401


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("from_Coworker_UpdatedOn=2026-01-01T00:01", [2, 3]),
        ("from_Coworker_UpdatedOn=2026-01-01T00:02", [3]),
        ("from_Coworker_UpdatedOn=2026-01-01T00:03", []),
        ("to_Coworker_UpdatedOn=2026-01-01T00:01", [1, 2]),
        ("from_Coworker_UpdatedOn=2026-01-01T00:01&to_Coworker_UpdatedOn=2026-01-01T00:01", [2]),
        ("from_Coworker_CreatedOn=2026-01-01T00:00", [1, 2, 3]),
        ("Coworker_FullName=ada", [1]),
        ("Coworker_Active=false", [2]),
        ("Coworker_Id=3", [3]),
        ("Coworker_Email=", [1, 2, 3]),
    ],
)
async def test_filters(client: Client, token: str, query: str, expected: list[int]) -> None:
    """Dates to the minute, so that 00:01:30 is in the window that begins at 00:01; texts whatever their case."""
    created = "2026-01-01T00:00:00Z"
    client.emulator.coworkers[:] = [
        {"Id": 1, "FullName": "Ada", "Active": True, "Email": None, "CreatedOn": created, "UpdatedOn": created},
        {"Id": 2, "FullName": "Bo", "Active": False, "CreatedOn": created, "UpdatedOn": "2026-01-01T00:01:30Z"},
        {"Id": 3, "FullName": "Cy", "Active": True, "CreatedOn": created, "UpdatedOn": "2026-01-01T00:02:00"},
    ]
    answer = await client.call(f"{COWORKERS}?{query}", token)
    assert numbers(answer) == expected
    assert answer.json["TotalItems"] == len(expected)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("from_Coworker_UpdatedAt=2026-01-01T00:00", "did you mean from_Coworker_UpdatedOn?"),
        ("from_coworker_updatedon=2026-01-01T00:00", "did you mean from_Coworker_UpdatedOn?"),
        ("updated_since=2026-01-01T00:00", "unknown filter 'updated_since'"),
        ("Coworker_Nonsense=1", "unknown filter 'Coworker_Nonsense'"),
        ("from_Coworker_UpdatedOn=2026-01-01", "a time to the minute, such as 2026-01-31T08:00"),
        ("from_Coworker_UpdatedOn=2026-01-01T00:00:00Z", "a time to the minute"),
        ("Coworker_Active=yes", "Coworker_Active is true or false; not 'yes'"),
        ("Coworker_Id=seven", "Coworker_Id is a whole number; not 'seven'"),
        ("size=0", "size is a whole number, 1 or more"),
        ("size=%C2%B2", "size is a whole number"),
        ("page=x", "page is a whole number"),
        pytest.param("page=" + "9" * 5_000, "page is a whole number", id="more digits than Python reads"),
        ("orderBy=Nonsense", "orderBy is one of Id, FullName"),
        ("dir=2", "dir is 1 for ascending or -1 for descending"),
    ],
)
async def test_what_means_nothing_is_reported(client: Client, token: str, query: str, says: str) -> None:
    """A 400 that says what to write, and a remark in the record: a wrong filter must not test green."""
    answer = await client.call(f"{COWORKERS}?{query}", token)
    assert answer.status == 400
    assert says in answer.json["Message"]
    assert client.emulator.requests[-1].remark == answer.json["Message"]


@pytest.mark.parametrize("path", ["/api/public/teams/my", "/api/public/billing/customer", "/api/auth/me"])
@pytest.mark.parametrize("query", ["from_Team_UpdatedOn=2026-01-01T00:00", "Team_Name=x", "page=2"])
async def test_a_filter_where_there_are_none_is_reported_too(client: Client, token: str, path: str, query: str) -> None:
    """What is no filter, such as a number against caches, is let through."""
    answer = await client.call(f"{path}?{query}", token)
    assert (answer.status, "there are no filters here" in answer.json["Message"]) == (400, True)
    assert client.emulator.requests[-1].remark == answer.json["Message"]
    assert (await client.call(f"{path}?_=1&token=x", token)).status == 200


async def test_an_unknown_filter_names_the_known_ones(client: Client, token: str) -> None:
    """Where none is near."""
    message = (await client.call(f"{COWORKERS}?q=1", token)).json["Message"]
    assert "Coworker_FullName" in message
    assert "from_Coworker_UpdatedOn" in message


async def test_order(client: Client, token: str) -> None:
    """By `orderBy` in the direction of `dir`, by Id where nothing is said; the answer says what it did."""
    client.emulator.coworkers[:] = [
        {"Id": 2, "FullName": "Bo"},
        {"Id": 1, "FullName": "Cy"},
        {"Id": 3, "FullName": None},
    ]
    assert numbers(await client.call(COWORKERS, token)) == [1, 2, 3]
    assert numbers(await client.call(f"{COWORKERS}?dir=-1", token)) == [3, 2, 1]
    answer = await client.call(f"{COWORKERS}?orderBy=FullName&dir=Descending&size=2", token)
    assert numbers(answer) == [1, 2]
    expected = {"CurrentOrderField": "FullName", "CurrentSortDirection": -1, "FirstItem": 1, "LastItem": 2}
    assert expected.items() <= answer.json.items()


async def test_changed_since_finds_what_was_written(client: Client, token: str, clock: ManualClock) -> None:
    """A poller sees what was created and changed after its last round, and no more."""
    clock.advance(3_600)
    created = (await client.call(COWORKERS, token, "POST", {"FullName": "New"})).json["Value"]["Id"]
    clock.advance(60)
    await client.call(COWORKERS, token, "PUT", {"Id": 7, "FullName": "Changed"})
    changed = await client.call(f"{COWORKERS}?from_Coworker_UpdatedOn=2026-01-01T01:00&orderBy=UpdatedOn", token)
    assert [(r["Id"], r["FullName"]) for r in changed.json["Records"]] == [(created, "New"), (7, "Changed")]
    latest = await client.call(f"{COWORKERS}?from_Coworker_UpdatedOn=2026-01-01T01:01", token)
    assert numbers(latest) == [7]
    assert latest.json["Records"][0]["CreatedOn"] == "2026-01-01T00:00:00Z"


async def test_records_of_a_test_are_dated_when_they_are_first_asked_for(
    client: Client, token: str, clock: ManualClock
) -> None:
    """So that a poller finds what a test appends."""
    clock.advance(3_600)
    client.emulator.coworkers.append({"Id": 100, "FullName": "Late"})
    assert numbers(await client.call(f"{COWORKERS}?from_Coworker_UpdatedOn=2026-01-01T01:00", token)) == [100]


async def test_delete(client: Client, token: str) -> None:
    """And then it is gone."""
    assert (await client.call(f"{COWORKERS}/5", token, "DELETE")).json["WasSuccessful"] is True
    assert (await client.call(f"{COWORKERS}/5", token)).status == 404
    assert (await client.call(f"{COWORKERS}/5", token, "DELETE")).status == 404


async def test_a_post_may_answer_nothing(client: Client, token: str) -> None:
    """200 and an empty body, as seen live; the record is there."""
    client.emulator.settings.post_answers_nothing = True
    before = len(client.emulator.coworkers)
    headers = {"Authorization": f"Bearer {token}"}
    async with client.http.post(client.emulator.url + COWORKERS, json={"FullName": "N"}, headers=headers) as response:
        assert (response.status, await response.read()) == (200, b"")
    assert len(client.emulator.coworkers) == before + 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"[" * 100_000])
async def test_a_write_needs_a_json_object(client: Client, token: str, body: bytes) -> None:
    """A 400 with JSON, and nothing is written."""
    before: list[Any] = list(client.emulator.coworkers)
    headers = {"Authorization": f"Bearer {token}"}
    async with client.http.post(client.emulator.url + COWORKERS, data=body, headers=headers) as response:
        assert (response.status, await response.json()) == (400, {"Message": "The body is a JSON object."})
    assert client.emulator.coworkers == before


async def test_a_write_in_a_charset_that_nobody_knows_is_none(client: Client, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json; charset=no-such"}
    async with client.http.post(client.emulator.url + COWORKERS, data=b"{}", headers=headers) as response:
        assert (response.status, await response.json()) == (400, {"Message": "The body is a JSON object."})


async def test_when_a_record_was_made_is_not_the_clients_to_say(client: Client, token: str) -> None:
    """Nor can it make the filters fail by it."""
    before = dict(client.emulator.coworkers[0])
    change = {"Id": before["Id"], "CreatedOn": 5, "UpdatedOn": 5}
    assert (await client.call(COWORKERS, token, "PUT", change)).status == 200
    assert client.emulator.coworkers[0] == before
    assert (await client.call(f"{COWORKERS}?from_Coworker_CreatedOn=2026-01-01T00:00", token)).status == 200


async def test_numbers_that_are_no_floats_can_be_sorted(client: Client, token: str) -> None:
    client.emulator.coworkers[:] = [{"Id": 1, "Size": 10**400}, {"Id": 2, "Size": 1.5}]
    assert numbers(await client.call(f"{COWORKERS}?orderBy=Size", token)) == [2, 1]
