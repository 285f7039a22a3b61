"""The token value: what it is, what it shows, what becomes of it as plain data."""

import copy
import dataclasses
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexudus_async import Token
from tests.leaks import printed

ACCESS, REFRESH = "acc-3fC9-ess", "ref-77aa-resh"
END = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = Token(ACCESS, REFRESH, "bearer", "worker-1", 604_799.0, END, 3)
DATA = TOKEN.to_dict()


def test_the_header_is_bearer_and_the_access_token() -> None:
    """RFC 6750, section 2.1."""
    assert TOKEN.authorization == f"Bearer {ACCESS}"


def test_nothing_shows_its_secrets() -> None:
    """repr and str of the token, of its parts, and of what holds them."""
    shown = [repr(TOKEN), str(TOKEN), f"{TOKEN}", repr([TOKEN]), repr(dataclasses.astuple(TOKEN))]
    shown += [repr(dataclasses.asdict(TOKEN)), repr(TOKEN.authorization), repr({"Authorization": TOKEN.authorization})]
    assert not any(secret in text for text in shown for secret in (ACCESS, REFRESH)), shown
    assert "worker-1" in repr(TOKEN)


def test_it_is_immutable() -> None:
    """One value is shared by thousands of tasks."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        TOKEN.access_token = "other"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    assert not hasattr(TOKEN, "__dict__")


def test_a_changed_token_is_another_and_as_silent() -> None:
    """`dataclasses.replace` makes a new header, and hides the new secrets."""
    other = dataclasses.replace(TOKEN, access_token="new-9dX", generation=4)
    assert other.authorization == "Bearer new-9dX"
    assert "new-9dX" not in repr(other) + repr(other.authorization) + repr(other.access_token)
    assert TOKEN.access_token == ACCESS


def test_copying_is_harmless_and_pickling_refused() -> None:
    """A copy is the token itself; a pickle would be a file with secrets."""
    assert copy.copy(TOKEN) is TOKEN
    assert copy.deepcopy({"t": TOKEN})["t"] is TOKEN
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match=r"to_dict\(\)"):
            pickle.dumps([TOKEN], protocol)


def test_an_empty_refresh_token_is_none() -> None:
    """So that nobody sends it."""
    assert dataclasses.replace(TOKEN, refresh_token="").refresh_token is None


def test_the_expiry_must_be_aware() -> None:
    """A naive datetime means another moment in every time zone."""
    with pytest.raises(ValueError, match="aware"):
        dataclasses.replace(TOKEN, expires_at=datetime(2026, 1, 1))  # noqa: DTZ001


def test_it_survives_json() -> None:
    """Through plain data and back, with every field."""
    assert Token.from_dict(json.loads(json.dumps(DATA))) == TOKEN
    assert type(DATA["access_token"]) is str


def test_the_time_zone_of_the_expiry_does_not_matter() -> None:
    """A moment is a moment."""
    elsewhere = dataclasses.replace(TOKEN, expires_at=END.astimezone(timezone(timedelta(hours=-9))))
    assert Token.from_dict(elsewhere.to_dict()) == TOKEN


DATES = st.datetimes(datetime(2000, 1, 1), datetime(2900, 1, 1))  # noqa: DTZ001


@given(
    st.text(min_size=1), st.none() | st.text(min_size=1), st.none() | st.text(),
    st.floats(0, 1e9), DATES, st.integers(0),
)  # fmt: skip
def test_any_token_survives(
    access: str, refresh: str | None, client_id: str | None, lifetime: float, end: datetime, generation: int
) -> None:
    """To the microsecond: a float of this size has no more."""
    token = Token(access, refresh, "bearer", client_id, lifetime, end.replace(tzinfo=UTC), generation)
    again = Token.from_dict(json.loads(json.dumps(token.to_dict())))
    assert abs(again.expires_at - token.expires_at) <= timedelta(microseconds=5)
    assert dataclasses.replace(again, expires_at=token.expires_at) == token


WRONG: list[tuple[str, Any]] = [
    ("access_token", None),
    ("access_token", 7),
    ("refresh_token", 7),
    ("token_type", None),
    ("client_id", 7),
    ("lifetime", None),
    ("lifetime", "soon"),
    ("expires_at", "2026-01-01"),
    ("expires_at", float("nan")),
    ("expires_at", 1e300),
    ("generation", "x"),
    ("generation", None),
    ("generation", float("inf")),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_data_is_refused_without_a_word_of_it(name: str, value: Any) -> None:
    """A corrupt record must not end up in a log."""
    with pytest.raises(ValueError, match="not the data of a token") as caught:
        Token.from_dict({**DATA, name: value})
    text = printed(caught.value)
    assert not any(secret in text for secret in (ACCESS, REFRESH)), text


@pytest.mark.parametrize("name", sorted(DATA))
def test_missing_data_is_refused(name: str) -> None:
    """Every field is needed."""
    with pytest.raises(ValueError, match="not the data of a token"):
        Token.from_dict({key: value for key, value in DATA.items() if key != name})


@pytest.mark.parametrize("data", [None, [], "text", 7])
def test_data_of_another_kind_is_refused(data: Any) -> None:
    """Whatever a file may hold."""
    with pytest.raises(ValueError, match="not the data of a token"):
        Token.from_dict(data)
