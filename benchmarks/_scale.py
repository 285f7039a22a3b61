"""How long the bad days of fleets are, and what of them is counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nexudus_async.testing import NexudusEmulator, RequestRecord

from _pods import Report  # isort: skip

Figures = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """How long everything takes, in seconds, and how often what is tried is tried.

    after: what is looked at when it is over. pause: between two requests of a caller.
    """

    lifetime: float = 10.0
    outage: float = 30.0
    deadline: float = 30.0
    hang: float = 75.0
    look: float = 30.0
    tries: int = 20
    alone: float = 30.0
    after: float = 8.0
    pause: float = 0.1


QUICK = Scale(lifetime=3, outage=7, deadline=2, hang=7, look=6, tries=2, alone=7, after=5, pause=0.25)


def harm(service: NexudusEmulator, reports: Sequence[Report]) -> Figures:
    return {
        "sign-ins": service.sign_ins,
        "refreshes": service.renewals,
        "refresh tokens reused": service.refresh_tokens_reused,
        "requests failed": sum(len(report.failed) for report in reports),
    }


def by_password(records: Sequence[RequestRecord]) -> list[RequestRecord]:
    return [record for record in records if record.form.get("grant_type") == "password"]
