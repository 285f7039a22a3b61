"""What JSON says of users, faults, settings and limits: for the control interface and for seed files alike."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Final, cast

from ._accounts import User
from ._faults import Fault
from ._input import Fields, InvalidInputError
from ._limits import Limits, Rate, Refill
from ._settings import Settings
from ._totp import totp_code

USER_MEMBERS: Final = (
    "username",
    "password",
    "totp_secret",
    "suspended",
    "must_reset",
    "sso_only",
    "admin",
    "invalid_login_attempts",
    "coworker_id",
)
CHANGE_MEMBERS: Final = tuple(name for name in USER_MEMBERS if name not in ("username", "coworker_id"))
_SETTINGS: Final = (
    "lifetime",
    "enforce_limits",
    "unknown_account_is_500",
    "post_answers_nothing",
    "drop_client_id",
    "lock_after",
    "limits",
)
_RATES: Final = ("api", "writes", "token", "address", "public", "token_address")
_REFILLS: Final = ("sliding", "window", "bucket")

PlannedFault = tuple[str, Fault, int | None]  # where, what, how many times


def user_from(value: object) -> User:
    """Return the user that an object describes; all but the name and the password may be left out."""
    fields = Fields(value, "a user", USER_MEMBERS)
    number = fields.whole("coworker_id") if "coworker_id" in fields else 0
    user = User(fields.text("username"), fields.text("password"), coworker_id=number)
    change_user(user, fields)
    return user


def change_user(user: User, fields: Fields) -> None:
    """Change what `fields` has of a user; its name, password and number aside."""
    secret = fields.optional_text("totp_secret")
    if secret is not None:
        _check_totp_secret(secret)
    flags = {name: fields.flag(name) for name in ("suspended", "must_reset", "sso_only", "admin") if name in fields}
    attempts = fields.whole("invalid_login_attempts", user.invalid_login_attempts, least=0)
    for name, value in flags.items():  # all was read before anything is changed
        setattr(user, name, value)
    user.invalid_login_attempts = attempts
    if "totp_secret" in fields:
        user.totp_secret, user.last_totp_step = secret, -1


def _check_totp_secret(secret: str) -> None:
    try:
        totp_code(secret, 0)
    except ValueError as exc:
        raise InvalidInputError(f"totp_secret of a user: {exc}") from None


def fault_from(value: object) -> PlannedFault:
    """Return the fault that an object describes, and where and how often it strikes."""
    every = ("where", "kind", "times")
    known = dict.fromkeys((*every, *(name for names, _ in _KINDS.values() for name in names)))
    kind = Fields(value, "a fault", tuple(known)).one_of("kind", tuple(_KINDS))
    names, make = _KINDS[kind]
    fields = Fields(value, f"a fault of the kind {kind}", (*every, *names))
    forever = "times" in fields and fields.value("times") is None
    return fields.text("where"), make(fields), None if forever else fields.whole("times", 1)


def _answer(fields: Fields) -> Fault:
    if "body" in fields and "json" in fields:
        raise InvalidInputError("an answer has a body, a text that is sent as it is, or json, a value; not both")
    body = json.dumps(fields.value("json")) if "json" in fields else fields.optional_text("body") or ""
    return Fault.answer(
        fields.whole("status", least=200, most=599),
        body,
        headers={name: _header(name, value) for name, value in fields.mapping("headers").items()},
        content_type=_header("content_type", fields.text("content_type", "application/json")),
        applied=fields.flag("applied"),
    )


def _throttle(fields: Fields) -> Fault:
    after = fields.optional_number("retry_after") if "retry_after" in fields else 1.0
    return Fault.throttled(
        None if after is None else f"{after:g}",
        fields.whole("status", 409, least=400, most=599),
        in_words=fields.optional_number("in_words"),
    )


def _redirect(fields: Fields) -> Fault:
    return Fault.redirect(_header("location", fields.text("location")), _status(fields, 307))


def _alter(fields: Fields) -> Fault:
    return Fault.altered(fields.mapping("members"), without=tuple(str(name) for name in fields.listed("without")))


_KINDS: Final[dict[str, tuple[tuple[str, ...], Callable[[Fields], Fault]]]] = {
    "answer": (("status", "body", "json", "headers", "content_type", "applied"), _answer),
    "delay": (
        ("seconds", "applied"),
        lambda fields: Fault.delayed(fields.number("seconds"), applied=fields.flag("applied", True)),
    ),
    "drop": (("applied",), lambda fields: Fault.dropped(applied=fields.flag("applied"))),
    "truncate": (("applied",), lambda fields: Fault.truncated(applied=fields.flag("applied", True))),
    "throttle": (("status", "retry_after", "in_words"), _throttle),
    "html": (
        ("status", "applied"),
        lambda fields: Fault.html(_status(fields, 200), applied=fields.flag("applied")),
    ),
    "redirect": (("location", "status"), _redirect),
    "alter": (("members", "without"), _alter),
    "silent": (
        ("status", "applied"),
        lambda fields: Fault.silent(_status(fields, 200), applied=fields.flag("applied", True)),
    ),
}
"""The kinds of faults: the members of each besides `where`, `kind` and `times`, and what makes it."""


def _status(fields: Fields, default: int) -> int:
    return fields.whole("status", default, least=200, most=599)


def _header(name: str, value: object) -> str:
    if (
        not isinstance(value, str)
        or not value.isprintable()
        or not f"{name}{value}".isascii()
        or not name.isprintable()
    ):
        raise InvalidInputError(f"the header {name!r} is a text of one line, in ASCII")
    return value


def change_settings(value: object, settings: Settings, limits: Limits) -> Limits:
    """Change `settings` by what an object says, and return the limits as they are then."""
    fields = Fields(value, "settings", _SETTINGS)
    flags = ("enforce_limits", "unknown_account_is_500", "post_answers_nothing", "drop_client_id")
    changes: dict[str, Any] = {name: fields.flag(name) for name in flags if name in fields}
    if "lifetime" in fields:
        lifetime = fields.number("lifetime", least=0.001)
        changes["lifetime"] = int(lifetime) if lifetime.is_integer() else lifetime
    if "lock_after" in fields:
        never = fields.value("lock_after") is None
        changes["lock_after"] = None if never else fields.whole("lock_after")
    changed = _limits(fields.value("limits"), limits) if "limits" in fields else limits
    for name, each in changes.items():  # all was read before anything is changed
        setattr(settings, name, each)
    return changed


def _limits(value: object, limits: Limits) -> Limits:
    fields = Fields(value, "limits", (*_RATES, "status", "retry_after"))
    rates: dict[str, Any] = {
        name: tuple(_rate(each) for each in fields.listed(name)) for name in _RATES if name in fields
    }
    if "status" in fields:
        rates["status"] = fields.whole("status", least=400, most=599)
    if "retry_after" in fields:
        rates["retry_after"] = fields.flag("retry_after")
    return replace(limits, **rates)


def _rate(value: object) -> Rate:
    fields = Fields(value, "a rate", ("count", "seconds", "refill"))
    refill = cast(Refill, fields.one_of("refill", _REFILLS, "sliding"))
    return Rate(fields.whole("count"), fields.number("seconds", least=0.001), refill)


def settings_as_json(settings: Settings, limits: Limits) -> dict[str, Any]:
    """Return settings and limits in the form that `change_settings` takes."""
    return {**asdict(settings), "limits": asdict(limits)}
