"""What happens on a day of one session."""

from random import Random
from typing import Any

from nexudus_async import RefreshPolicy

from .api import API_FAULTS
from .days import Action, Scenario, Setting
from .episodes import episode
from .service import FAULTS

__all__ = ["HOPS", "OUTAGES", "alone_scenario"]

LIFETIMES = (2.0, 10.0, 60.0, 600.0, 1199.0, 3600.0, 7200.0, 86_400.0, 604_799.0)
LONGER = 30 * 86_400.0
"""A token that outlives its refresh token."""
THROTTLES: tuple[dict[str, Any] | None, ...] = (
    {},
    {},
    {},
    {"max_replays": 1},
    {"max_wait": 3.0, "first_wait": 2.0},
    None,
)
PACINGS: tuple[tuple[int, int, float] | tuple[()], ...] = ((), (), (), (), (), (), (), (3, 5, 0.0), (4, 1, 0.15))
HOPS = ("hop", "hop", "denied hop", "own hop", "send hop", "foreign hop", "patient hop", "patient hop")
EXACT = (1.0, 2.0)
"""Seconds that throttled answers ask for: what ends with the pause ends at the same moment."""
FEWEST, MOST = 4, 14
"""Actions in a schedule: many short days find more than few long ones."""
EPISODES_AMONG = 0.05
"""The share of actions in whose place there is an episode."""

WEIGHTS = {
    "token": 20, "get": 12, "send": 2, "foreign": 2, "denied": 3, "poll": 2, "refresh": 4, "reject": 6, "current": 2,
    "hop": 3, "own": 1, "allowed": 1,
    "cancel": 5, "fault": 26, "api fault": 7, "revoke access": 4, "revoke refresh": 4, "password": 3, "suspend": 3,
    "step wall": 3, "cancel flight": 2, "listener": 3, "logout": 3, "close": 2, "heal": 1,
    "vault": 2, "pass": 2, "outage": 2, "limit": 1, "no memory": 1,
}  # fmt: skip
KEPT_ALIVE = {**WEIGHTS, "suspend": 20, "revoke refresh": 8, "password": 6, "close": 4}
LOCKOUT = {"token": 10, "get": 2, "refresh": 1, "vault": 3, "password": 1, "current": 1, "logout": 1}
"""A day on which the password is wrong from the start, and time goes by."""
OUTAGES = ("503", "dropped after", "refused connection", "html 502", "429", "late to process", "invalid_grant")


def alone_scenario(seed: int, random: Random) -> Scenario:
    """Return the scenario of a seed, for one session."""
    setting = _setting(random)
    weights, first = (
        KEPT_ALIVE if setting.keep_alive else WEIGHTS,
        [Action(0.0, "token", n=random.choice((1, 1, 3)), what="again")],
    )
    if random.random() < 0.05:
        weights, first = LOCKOUT, [Action(0.0, "password", "theirs"), *first]
    actions: list[Action] = []
    for _ in range(random.randint(FEWEST, MOST)):
        if weights is not LOCKOUT and random.random() < EPISODES_AMONG:
            actions.extend(episode(random, setting, _gap(random, setting)))
        else:
            actions.append(_action(random, setting, weights))
    return Scenario(seed, setting, (*first, *actions))


def _setting(random: Random) -> Setting:
    keep_alive = random.random() < 0.12
    lifetime = random.choice((*LIFETIMES, LONGER, LONGER) if keep_alive else LIFETIMES)
    policy: dict[str, Any] = {}
    if random.random() < 0.3:
        window = policy["advisory_window"] = round(lifetime * random.uniform(0.25, 0.8), 3)
        if random.random() < 0.5:
            policy["hard_margin"] = round(window * random.choice((0.0, 0.5, 0.95)), 3)
    if random.random() < 0.4:
        policy["jitter"] = random.choice((0.0, 1.0))
    if random.random() < 0.2:
        policy["mandatory_wait"] = random.choice((0.0, 1.0, 12.0))
    if random.random() < 0.2:
        policy["flight_deadline"] = random.choice((5.0, 90.0))
    if random.random() < 0.2:
        policy["close_timeout"] = random.choice((0.0, 20.0))
    RefreshPolicy(**policy)
    two_factor = random.choice(("", "", "", "", "typed", "callable"))
    return Setting(
        lifetime, policy, two_factor, random.random() < 0.4, random.random() < 0.5, random.choice((0.0, 0.3, 0.9)),
        keep_alive, random.choice(THROTTLES), random.choice(PACINGS),
    )  # fmt: skip


def _action(random: Random, setting: Setting, weights: dict[str, int]) -> Action:
    kind = random.choices(list(weights), list(weights.values()))[0]
    after = random.choice((0.0, 62.0, 310.0, 310.0)) if weights is LOCKOUT else _gap(random, setting)
    match kind:
        case "token" | "get" | "refresh" | "denied" | "send" | "hop" | "own" | "allowed" | "foreign":
            what = random.choice(("", "", "again"))
            deadline = random.choice((0.0, 0.0, 0.0, random.uniform(0.001, 0.1), random.uniform(0.1, 20), *EXACT[:1]))
            kind = random.choice(HOPS) if kind == "hop" else kind
            return Action(after, kind, what, random.choice((1, 1, 2, 5)), round(deadline, 3))
        case "poll":
            return Action(after, kind, n=8, x=random.choice((0.5, 4.0)))
        case "vault":
            return Action(after, kind, random.choice(("raises", "hangs")), random.choice((1, 3)))
        case "reject":
            return Action(after, kind, "", random.choice((1, 2, 4)), round(random.random(), 2))
        case "cancel":
            return Action(after if random.random() < 0.4 else 0.0, kind, "", 1, random.choice((0.3, 0.7, 1.0, 1.0)))
        case "fault":
            seconds = random.choice((0.0, 2.0, 5.0, 9.0, 12.0, 28.0, 45.0, 300.0, 4000.0))
            return Action(after, kind, random.choice(list(FAULTS)), random.choice((1, 1, 1, 2, 2, 3, 5)), seconds)
        case "outage":
            return Action(after, kind, random.choice(OUTAGES), 40, random.choice((0.0, 5.0, 40.0)))
        case "api fault":
            return Action(after, kind, random.choice(list(API_FAULTS)), random.choice((1, 2, 4, 8)))
        case "limit":
            return Action(after, kind, n=random.choice((1, 3)), x=random.choice((1.0, 4.0)))
        case "suspend":
            return Action(after, kind, x=round(setting.lifetime * random.choice((0.01, 0.4, 0.48, 0.93, 1.5)), 3))
        case "step wall":
            share = random.choice((-2.0, -0.5, -0.001, 0.001, 0.3, 0.95, 2.0))
            return Action(after, kind, x=round(setting.lifetime * share, 3))
        case "password":
            return Action(after, kind, random.choice(("theirs", "theirs", "both", "ours", "suspended")))
        case "listener":
            return Action(after, kind, random.choice(("raise", "token", "refresh", "logout", "quiet")))
        case "cancel flight":
            return Action(after, kind, random.choice(("now", "now", "at the end")))
        case "close":
            return Action(
                after, kind, random.choice(("", "cancelled", "in a cancelled scope")), x=random.choice((0.0, 1.0))
            )
        case _:
            return Action(after, kind)


def _gap(random: Random, setting: Setting) -> float:
    chance = random.random()
    if chance < 0.35:
        gap = 0.0
    elif chance < 0.5:
        gap = random.uniform(0.0, 0.05)
    elif chance < 0.65:
        gap = random.uniform(0.05, 3.0)
    elif chance < 0.75:
        gap = random.choice((11.0, 31.0, 62.0, 130.0, 310.0)) * random.uniform(0.7, 1.3)
    elif chance < 0.82:
        gap = random.choice(EXACT)
    elif setting.keep_alive:  # every half minute of it costs; the machine is suspended instead
        gap = random.uniform(25.0, 65.0)
    else:
        gap = setting.lifetime * random.choice((0.4, 0.55, 0.85, 0.94, 0.97, 1.05)) * random.uniform(0.97, 1.03)
    return round(gap, 3)
