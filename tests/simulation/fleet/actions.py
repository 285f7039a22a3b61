"""What happens on a day of a fleet."""

from random import Random
from typing import Any

from tests.simulation.actions import OUTAGES
from tests.simulation.days import Action, Scenario, Setting
from tests.simulation.service import FAULTS

from .content import EDITS
from .episodes import episode
from .store import TROUBLES

__all__ = ["fleet_scenario"]

LIFETIMES = (10.0, 60.0, 600.0, 3600.0, 86_400.0)
SKEWS = (0.0, 0.0, 0.0, 0.0, -400.0, 100.0, 5000.0)
"""Seconds by which the clock of a host is wrong."""
SHORT = ("expires soon", "expires soon", "expires on its way")
"""A token that ends before others that came earlier."""
FEWEST, MOST = 3, 9
EPISODES_AMONG = 0.25
"""The share of actions in whose place there is an episode."""

WEIGHTS = {
    "token": 18, "everywhere": 12, "get": 6, "refresh": 9, "denied": 1, "cancel": 3,
    "fault": 14, "outage": 2, "revoke access": 2, "revoke refresh": 2, "password": 2,
    "store": 16, "store down": 6, "store lags": 1, "store lost": 2, "store goes back": 1, "store edited": 1,
    "logout": 5, "close": 2, "restart": 4, "pass": 3,
}  # fmt: skip


def fleet_scenario(seed: int, random: Random) -> Scenario:
    """Return the scenario of a seed."""
    setting = _setting(random)
    actions: list[Action] = []
    for _ in range(random.randint(FEWEST, MOST)):
        if random.random() < EPISODES_AMONG:
            actions.extend(episode(random, setting, _gap(random, setting)))
        else:
            actions.append(_action(random, setting))
    return Scenario(seed, setting, (Action(0.0, "everywhere", "token"), *actions))


def _setting(random: Random) -> Setting:
    lifetime = random.choice(LIFETIMES)
    policy: dict[str, Any] = {}
    if random.random() < 0.3:
        policy["jitter"] = random.choice((0.0, 1.0))
    if random.random() < 0.2:
        policy["close_timeout"] = random.choice((1.0, 20.0))
    if random.random() < 0.1:
        policy["flight_deadline"] = 10.0
    size = random.choice((2, 2, 3))
    skews = tuple(random.choice(SKEWS) for _ in range(size)) if random.random() < 0.5 else (0.0,) * size
    return Setting(
        lifetime, policy,
        two_factor=random.choice(("", "", "", "", "", "callable")),
        callable_password=True,
        slow=random.choice((0.0, 0.3, 0.9)),
        keep_alive=lifetime <= 600 and random.random() < 0.1,
        skews=skews,
        without_credentials=random.choice((-1, -1, -1, size - 1)),
    )  # fmt: skip


def _action(random: Random, setting: Setting) -> Action:
    kind = random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    after, who = _gap(random, setting), random.randrange(len(setting.skews))
    match kind:
        case "token" | "get" | "refresh" | "denied":
            deadline = random.choice((0.0, 0.0, 0.0, random.uniform(0.001, 0.1), random.uniform(0.1, 20)))
            return Action(after, kind, "", random.choice((1, 1, 3)), round(deadline, 3), who)
        case "everywhere":
            return Action(after, kind, random.choice(("token", "token", "get", "refresh")), who=who)
        case "fault":
            seconds = random.choice((0.0, 2.0, 5.0, 12.0, 28.0, 45.0, 300.0))
            return Action(after, kind, random.choice((*FAULTS, *SHORT)), random.choice((1, 1, 1, 2, 3)), seconds)
        case "outage":
            return Action(after, kind, random.choice(OUTAGES), 40, random.choice((0.0, 5.0, 40.0)))
        case "password":
            return Action(after, kind, random.choice(("theirs", "both", "ours", "suspended")))
        case "store":
            what = random.choice(TROUBLES)
            seconds = random.choice((0.1, 2.0, 9.0) if what == "late" else (0.1, 2.0, 2.9))
            return Action(after, kind, what, random.choice((1, 1, 2, 4)), seconds, who)
        case "store down":
            long = min(setting.lifetime * 0.3, 200.0), min(setting.lifetime * 1.1, 700.0)
            seconds = random.choice((3.0, 20.0, 60.0, *long))
            return Action(after, kind, random.choice(("for all", "for one")), x=round(seconds, 3), who=who)
        case "store edited":
            return Action(after, kind, random.choice(EDITS), who=who)
        case "store lags":
            return Action(after, kind, x=random.choice((1.0, 10.0)))
        case "restart":
            return Action(after, kind, "killed", who=who)
        case _:
            return Action(after, kind, who=who)


def _gap(random: Random, setting: Setting) -> float:
    chance = random.random()
    if chance < 0.35:
        gap = 0.0
    elif chance < 0.5:
        gap = random.uniform(0.0, 0.05)
    elif chance < 0.68:
        gap = random.uniform(0.05, 3.0)
    elif chance < 0.78 or setting.keep_alive:
        gap = random.choice((6.0, 11.0, 31.0, 62.0, 130.0)) * random.uniform(0.7, 1.3)
    else:
        gap = setting.lifetime * random.choice((0.4, 0.55, 0.85, 0.94, 0.97, 1.05)) * random.uniform(0.97, 1.03)
    return round(gap, 3)
