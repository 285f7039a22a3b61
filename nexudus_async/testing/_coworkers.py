"""The list of coworkers: pages, order, filters, "changed since", and the writes.

An unknown filter, which the service may well ignore, is refused here and noted in the record of the request, so that a
client with a wrong one does not test green.
"""

import difflib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from aiohttp import web

from nexudus_async._clock import Clock

from ._input import whole_number
from ._masking import SHOWN, shown
from ._notes import NOTE
from ._routing import Handler, json_error
from ._settings import Settings

_PATH = "/api/spaces/coworkers"
_FILTER = "Coworker_"
_DATES = ("CreatedOn", "UpdatedOn")
_TO_THE_MINUTE = "%Y-%m-%dT%H:%M"
_PAGING = ("page", "size", "orderBy", "dir")
_DIRECTIONS = {"1": 1, "-1": -1, "ascending": 1, "descending": -1}

Record = dict[str, Any]


class UnusableQueryError(Exception):
    """Raised when a query makes no sense; its text is for the one who wrote it."""


def default_coworkers(now: float) -> list[Record]:
    """Return sixty, all of them as new as the emulator: `now` in seconds since 1970-01-01T00:00Z."""
    stamp = _stamp(now)
    return [
        {
            "Id": number,
            "FullName": f"Coworker {number}",
            "Email": f"coworker{number}@example.com",
            "Active": True,
            "CreatedOn": stamp,
            "UpdatedOn": stamp,
        }
        for number in range(1, 61)
    ]


class Coworkers:
    """Answers for `records`, a list that a test may change; what has no dates is dated when it is first asked for."""

    def __init__(self, records: list[Record], clock: Clock, settings: Settings) -> None:
        self.records = records
        self._clock = clock
        self._settings = settings

    def handlers(self) -> dict[tuple[str, str], Handler]:
        return {
            ("GET", _PATH): self.get_page,
            ("GET", _PATH + "/{Id}"): self.get_one,
            ("POST", _PATH): self.create,
            ("PUT", _PATH): self.change,
            ("DELETE", _PATH + "/{Id}"): self.delete,
        }

    async def get_page(self, request: web.Request) -> web.Response:
        self._date()
        try:
            answer = self._page(request.query)
        except UnusableQueryError as exc:
            NOTE.get().remark = str(exc)
            return web.json_response({"Message": str(exc)}, status=400)
        return web.json_response(answer)

    async def get_one(self, request: web.Request) -> web.Response:
        self._date()
        return web.json_response(self._find(request.match_info["Id"]))

    async def create(self, request: web.Request) -> web.Response:
        given = await _body(request)
        identifier = 1 + max((known.get("Id", 0) for known in self.records), default=0)
        now = _stamp(self._clock.wall())
        self.records.append({**given, "Id": identifier, "CreatedOn": now, "UpdatedOn": now})
        # Seen live: the record is there, and the answer says nothing.
        return web.Response() if self._settings.post_answers_nothing else _done(identifier)

    async def change(self, request: web.Request) -> web.Response:
        given = await _body(request)
        record = self._find(str(given.get("Id")))
        now = _stamp(self._clock.wall())
        record.update({**given, "Id": record["Id"], "CreatedOn": record.get("CreatedOn", now), "UpdatedOn": now})
        return _done(record["Id"])

    async def delete(self, request: web.Request) -> web.Response:
        record = self._find(request.match_info["Id"])
        self.records.remove(record)
        return _done(record["Id"])

    def _find(self, identifier: str) -> Record:
        for record in self.records:
            if str(record.get("Id")) == identifier:
                return record
        raise json_error(web.HTTPNotFound, "No coworker has this Id.")

    def _date(self) -> None:
        now = _stamp(self._clock.wall())
        for record in self.records:
            record.setdefault("CreatedOn", now)
            record.setdefault("UpdatedOn", now)

    def _page(self, query: Mapping[str, str]) -> dict[str, object]:
        fields = {name: None for record in self.records for name in record} or dict.fromkeys(("Id", *_DATES))
        _check_names(query, tuple(fields))
        page, size = _whole(query, "page", 1), _whole(query, "size", 25)
        order, direction = query.get("orderBy", "Id"), _direction(query)
        if order not in fields:
            raise UnusableQueryError(f"orderBy is one of {', '.join(fields)}; not {shown(order)}")
        _check_values(query, self.records)
        found = [record for record in self.records if _matches(record, query)]
        found.sort(key=lambda record: _sortable(record.get(order)), reverse=direction < 0)
        first, pages = (page - 1) * size, math.ceil(len(found) / size)
        records = found[first : first + size]
        return {
            "Records": records,
            "CurrentPage": page,
            "CurrentPageSize": size,
            "CurrentOrderField": order,
            "CurrentSortDirection": direction,
            "FirstItem": first + 1 if records else 0,
            "LastItem": first + len(records) if records else 0,
            "TotalItems": len(found),
            "TotalPages": pages,
            "HasNextPage": page < pages,
            "HasPreviousPage": page > 1,
        }


def _check_names(query: Mapping[str, str], fields: tuple[str, ...]) -> None:
    ranges = [f"{end}_{_FILTER}{date}" for end in ("from", "to") for date in _DATES]
    known = [*_PAGING, *(f"{_FILTER}{name}" for name in fields), *ranges]
    for name in query:
        if name not in known:
            near = difflib.get_close_matches(name[:SHOWN], known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
            raise UnusableQueryError(f"unknown filter {shown(name)}{hint}")


def _check_values(query: Mapping[str, str], records: list[Record]) -> None:
    """Refuse what no record can match: an empty list would look like an answer."""
    for name, value in query.items():
        field = name.removeprefix(_FILTER)
        kinds: set[type] = {type(record[field]) for record in records if record.get(field) is not None}
        if name != field and kinds == {bool} and value.lower() not in ("true", "false"):
            raise UnusableQueryError(f"{name} is true or false; not {shown(value)}")
        if name != field and kinds == {int} and not value.lstrip("-").isdecimal():
            raise UnusableQueryError(f"{name} is a whole number; not {shown(value)}")


def _matches(record: Record, query: Mapping[str, str]) -> bool:
    for name, value in query.items():
        if name.startswith(_FILTER):
            fits = _text(record.get(name.removeprefix(_FILTER))).lower() == value.lower()
        elif name.startswith("from_"):
            fits = _minute(record, name) >= _moment(name, value)
        elif name.startswith("to_"):
            fits = _minute(record, name) <= _moment(name, value)
        else:
            fits = True
        if not fits:
            return False
    return True


def _minute(record: Record, name: str) -> datetime:
    """Return the date that a range filter is about, to the minute, which is all that the service compares."""
    date = datetime.fromisoformat(record[name.rpartition("_")[2]])
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).replace(second=0, microsecond=0)


def _moment(name: str, value: str) -> datetime:
    try:
        return datetime.strptime(value, _TO_THE_MINUTE).replace(tzinfo=UTC)
    except ValueError:
        raise UnusableQueryError(
            f"{name} is a time to the minute, such as 2026-01-31T08:00; not {shown(value)}"
        ) from None


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    value = query.get(name, str(default))
    number = whole_number(value)
    if number is None or not 0 < number < 2**31:
        raise UnusableQueryError(f"{name} is a whole number, 1 or more; not {shown(value)}")
    return number


def _direction(query: Mapping[str, str]) -> int:
    value = query.get("dir", "1")
    if value.lower() not in _DIRECTIONS:
        raise UnusableQueryError(f"dir is 1 for ascending or -1 for descending; not {shown(value)}")
    return _DIRECTIONS[value.lower()]


def _sortable(value: object) -> tuple[int, float, str]:
    """Return a key by which any two values compare: None, then numbers, then texts without regard to case."""
    if value is None:
        return 0, 0.0, ""
    if isinstance(value, int | float):
        return 1, value, ""  # as it is: an int may be too large to be a float
    return 2, 0.0, str(value).lower()


def _text(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


async def _body(request: web.Request) -> Record:
    try:
        given = json.loads(await request.text())
    except (ValueError, LookupError, RecursionError):  # LookupError: of a charset
        given = None
    if not isinstance(given, dict):
        raise json_error(web.HTTPBadRequest, "The body is a JSON object.")
    return cast(Record, given)


def _done(identifier: int) -> web.Response:
    value = {"Status": 200, "Message": None, "Value": {"Id": identifier}, "WasSuccessful": True, "Errors": None}
    return web.json_response(value)


def _stamp(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
