"""What an answer says of the limit in its `RateLimit` fields: how many requests remain, and for how long."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

__all__ = ["Remaining", "remaining_in"]

_POLICY: Final = r'\s*"[^"]*"\s*((?:;[^,"]*)*)'
"""One item of `RateLimit: "default";r=50;t=30` (draft-ietf-httpapi-ratelimit-headers-10, section 4)."""
_PARAMETER: Final = r"(?:^|[;,\s])(r|t|remaining|reset)\s*=\s*([0-9]{1,15})(?=$|[;,\s])"
_NUMBER: Final = r"[0-9]{1,15}(\.[0-9]{1,9})?"
_OLDER: Final = ("RateLimit-", "X-RateLimit-", "X-Rate-Limit-")
"""What the names of the older fields begin with: they end in `Remaining` and `Reset`."""
EPOCH: Final = 1e8
"""From here on a reset is no delay but a moment, in seconds since 1970: three years would be no limit."""
MILLISECONDS: Final = 1e11
"""And from here on in milliseconds."""


class Remaining(NamedTuple):
    """requests: how many are left. seconds: until there are more."""

    requests: float
    seconds: float


def remaining_in(headers: Mapping[str, str], now: float) -> Remaining | None:
    """Return what the fields say, None for nothing and for garbage. now: seconds since 1970.

    `RateLimit` as the draft has it now, a list of policies of which the tightest counts, and as it had it before
    (`limit=100, remaining=50, reset=30`); else the three older fields, whose reset is seconds, or a moment.
    """
    known = [each for each in _of_policies(headers.get("RateLimit", "")) if each is not None]
    if known:
        return min(known, key=lambda each: each.requests / max(each.seconds, 1.0))
    for prefix in _OLDER:
        left, reset = _number(headers.get(f"{prefix}Remaining")), _number(headers.get(f"{prefix}Reset"))
        if left is not None and reset is not None:
            return Remaining(left, _delay(reset, now))
    return None


def _of_policies(field: str) -> Iterable[Remaining | None]:
    policies = re.findall(_POLICY, field) if '"' in field else [field]
    for parameters in policies:
        values = {name: float(value) for name, value in re.findall(_PARAMETER, parameters)}
        left, seconds = values.get("r", values.get("remaining")), values.get("t", values.get("reset"))
        yield None if left is None or seconds is None else Remaining(left, seconds)


def _number(text: str | None) -> float | None:
    return float(text.strip()) if text is not None and re.fullmatch(_NUMBER, text.strip()) else None


def _delay(reset: float, now: float) -> float:
    if reset < EPOCH:
        return reset
    moment = reset / 1000.0 if reset >= MILLISECONDS else reset
    return max(0.0, math.ceil(moment - now))
