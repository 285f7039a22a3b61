"""What an emulator begins with, from a JSON file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from ._accounts import User
from ._described import PlannedFault, fault_from, user_from
from ._input import Fields, InvalidInputError, parse_json

SEED_HELP: Final = """\
A seed file is a JSON object; each member may be left out:

{
  "users": [
    {"username": "ops@example.com", "password": "secret", "admin": true},
    {"username": "robot@example.com", "password": "secret", "totp_secret": "JBSWY3DPEHPK3PXP"},
    {"username": "sso@example.com", "password": "unused", "sso_only": true}
  ],
  "coworkers": [{"Id": 1, "FullName": "Ada", "Email": "ada@example.com", "UpdatedOn": "2026-01-31T08:00:00Z"}],
  "settings": {"lifetime": 3600, "enforce_limits": true},
  "faults": [{"where": "token", "kind": "answer", "status": 503, "times": 2}]
}

users, settings and faults have the members that the control interface takes. A user of a name that is there is
replaced; coworkers take the place of all that are there.
"""
"""How a seed file is written, for a `--help`."""


@dataclass(frozen=True, slots=True)
class Seed:
    """A seed that was read and found good. coworkers: None to leave them as they are. settings: still as JSON."""

    users: list[User]
    coworkers: list[dict[str, Any]] | None
    settings: object
    faults: list[PlannedFault]


def read_seed(source: Mapping[str, Any] | str | os.PathLike[str]) -> Seed:
    """Return the seed in a file, or in a mapping of its form.

    Raises `InvalidInputError`, a `ValueError`, that says what to write instead; `OSError` where there is no such file.
    """
    if isinstance(source, Mapping):
        return _seed(source)
    path = Path(source)
    try:
        return _seed(parse_json(path.read_text(encoding="utf-8"), "a seed"))
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path}: a seed is text in UTF-8") from None
    except InvalidInputError as exc:
        raise InvalidInputError(f"{path}: {exc}") from None


def _seed(value: object) -> Seed:
    fields = Fields(value, "a seed", ("users", "coworkers", "settings", "faults"))
    coworkers = [_coworker(each) for each in fields.listed("coworkers")] if "coworkers" in fields else None
    return Seed(
        users=[user_from(each) for each in fields.listed("users")],
        coworkers=coworkers,
        settings=fields.mapping("settings"),
        faults=[fault_from(each) for each in fields.listed("faults")],
    )


def _coworker(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInputError('a coworker is an object, such as {"Id": 1, "FullName": "Ada"}')
    record = cast(dict[str, Any], value)
    fields = Fields(record, "a coworker", tuple(record))
    for date in ("CreatedOn", "UpdatedOn"):
        if date in fields:
            _check_date(date, fields.text(date))
    return {**record, "Id": fields.whole("Id")}


def _check_date(name: str, value: str) -> None:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise InvalidInputError(f"{name} of a coworker is a time such as 2026-01-31T08:00:00Z") from None
