"""What the control interface shows. No secret in full: of tokens the last four characters."""

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from nexudus_async.testing._accounts import Living, SignedIn, User
from nexudus_async.testing._masking import Masker, last_four
from nexudus_async.testing._observed import Observed
from nexudus_async.testing._records import RequestRecord
from nexudus_async.testing._world import World

Json = dict[str, Any]


def user(who: User) -> Json:
    return {
        "username": who.username,
        "coworker_id": who.coworker_id,
        "two_factor": who.totp_secret is not None,
        "suspended": who.suspended,
        "must_reset": who.must_reset,
        "sso_only": who.sso_only,
        "admin": who.admin,
        "invalid_login_attempts": who.invalid_login_attempts,
    }


def session(held: SignedIn) -> Json:
    return {
        "username": held.username,
        "client_id": held.client_id,
        "access": _living(held.access),
        "older": held.older,
        "refresh": _living(held.refresh),
    }


def sessions(world: World, limit: int | None = None) -> list[Json]:
    """Return the sessions, those that were begun last first."""
    held: Iterable[SignedIn] = reversed(list(world.accounts.signed_in()))
    return [session(each) for each in islice(held, limit)]


def _living(token: Living | None) -> Json | None:
    if token is None:
        return None
    return {"token": last_four(token.token), "expires_in": round(token.expires_in, 3), "lifetime": token.lifetime}


def faults(world: World) -> list[Json]:
    return [
        {"where": entry.where, "times": entry.times, "what": entry.fault.summary}
        for entry in world.service.faults.waiting()
    ]


def request(number: int, record: RequestRecord, world: World) -> Json:
    masker: Masker = world.service.masker
    clock = world.clock
    client_id = record.client_id
    return {
        "number": number,
        "at": time(clock.wall() - (clock.monotonic() - record.started)),
        "method": record.method,
        "path": masker.decoded_path(record.path),
        "query": masker.query(record.query.items()),
        "status": record.status,
        "milliseconds": None if record.milliseconds is None else round(record.milliseconds, 3),
        "who": record.username,
        "client_id": None if client_id is None else masker.text(client_id),
        "grant_type": record.form.get("grant_type"),
        "authorization": masker.authorization(record.headers.get("Authorization")),
        "in_flight": record.in_flight,
        "remark": record.remark,
    }


def counts(emulator: Observed) -> Json:
    names = (
        "sign_ins",
        "sign_ins_refused",
        "renewals",
        "renewals_refused",
        "refresh_tokens_reused",
        "exchanges",
        "max_concurrent_token_requests",
        "max_concurrent_renewals",
    )
    return {"requests": len(emulator.requests), **{name: getattr(emulator, name) for name in names}}


def time(wall: float) -> str:
    """Return seconds since 1970-01-01T00:00Z as text, to the millisecond."""
    moment = datetime.fromtimestamp(wall, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
