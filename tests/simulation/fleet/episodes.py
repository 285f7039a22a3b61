"""What seldom comes together by chance: a few actions in a row, each with times and troubles of its own."""

from collections.abc import Callable
from random import Random
from typing import TypeAlias

from tests.simulation.days import Action, Setting

from .content import EDITS
from .store import SLOW_SAVE

__all__ = ["EPISODES", "episode"]

Episode: TypeAlias = Callable[[Random, int, int], list[Action]]
"""By chance, and for two processes."""


def _soon(random: Random) -> float:
    return round(random.choice((0.0, 0.02, 0.3, 1.0, 2.5)) * random.uniform(0.5, 1.5), 3)


def _after_a_save(random: Random) -> float:
    """By then what could not be saved was tried again, once or more."""
    return round(random.uniform(0.4, 9.0), 3)


def _asks(random: Random, who: int, after: float = 0.0) -> Action:
    return Action(after, random.choice(("token", "refresh", "refresh")), who=who)


def refreshed_in_mid_save(random: Random, who: int, other: int) -> list[Action]:
    """The store is down, somebody asks by hand for one token after the other; it comes back, and the others ask."""
    down = Action(0.0, "store down", random.choice(("for one", "for all")), x=random.choice((3.0, 8.0, 20.0)), who=who)
    tokens = [Action(_after_a_save(random) / 3, "refresh", who=who) for _ in range(random.choice((2, 3, 5)))]
    return [down, *tokens, Action(random.choice((3.0, 12.0, 25.0)), "refresh", who=other)]


def logged_out_in_mid_save(random: Random, who: int, other: int) -> list[Action]:
    """What could not be saved is being saved, which takes its time or fails, when somebody logs out."""
    trouble = Action(0.0, "store", random.choice((SLOW_SAVE, "fails", "hangs", "answer lost", "late")), 2, 2.9, who)
    return [
        Action(0.0, "store down", "for one", x=random.choice((1.0, 3.0, 6.0)), who=who),
        Action(0.0, "refresh", who=who),
        Action(random.choice((1.0, 3.0, 6.0)), trouble.kind, trouble.what, trouble.n, trouble.x, who),
        Action(_after_a_save(random), "logout", who=who),
        Action(_soon(random), random.choice(("token", "pass")), who=who),
        Action(_after_a_save(random), "everywhere", random.choice(("token", "refresh")), who=other),
    ]


def logged_out_behind_a_lock(random: Random, who: int, other: int) -> list[Action]:
    """Another process takes long to refresh; somebody logs out meanwhile, and closes."""
    return [
        Action(0.0, "fault", "late to process", 1, random.choice((5.0, 28.0))),
        Action(0.0, "refresh", who=other),
        Action(round(random.uniform(0.3, 2.0), 3), "logout", who=who),
        Action(_soon(random), random.choice(("close", "token", "pass")), who=who),
    ]


def shorter(random: Random, who: int, other: int) -> list[Action]:
    """A newer token ends before an older one does, and the service is down then."""
    outage = random.choice(("503", "dropped after", "refused connection", "html 502", "429"))
    return [
        Action(0.0, "fault", random.choice(("expires soon", "expires on its way"))),
        Action(0.0, "refresh", who=other),
        Action(random.choice((0.5, 2.0)), "outage", outage, 40, random.choice((0.0, 5.0))),
        _asks(random, who),
        Action(_soon(random), "everywhere", "token"),
        Action(random.choice((0.6, 6.0, 40.0)), "token", who=who),
    ]


def edited(random: Random, who: int, other: int) -> list[Action]:
    """Somebody writes over the record."""
    return [
        Action(_soon(random), "store edited", random.choice((*EDITS, EDITS[-1])), who=who),
        _asks(random, who),
        _asks(random, other, _soon(random)),
    ]


def refused_everywhere(random: Random, who: int, other: int) -> list[Action]:
    """Nothing that the fleet has is good any more; some are started anew, and some know a better password."""
    return [
        Action(0.0, "revoke refresh"),
        Action(0.0, "password", random.choice(("theirs", "theirs", "suspended"))),
        Action(0.0, "everywhere", "refresh"),
        Action(
            _soon(random), random.choice(("restart", "pass", "password")), random.choice(("killed", "ours")), who=who
        ),
        Action(_soon(random), "everywhere", random.choice(("token", "get", "refresh"))),
        _asks(random, other, random.choice((1.0, 70.0, 320.0))),
    ]


def killed_in_mid_flight(random: Random, who: int, other: int) -> list[Action]:
    """A process dies when it may have been given a token; the store may have lost its records before."""
    lost = random.choice(("store lost", "store goes back", "pass", "pass"))
    return [
        Action(0.0, lost),
        Action(_soon(random), "refresh", who=who),
        Action(_soon(random) / 8, "restart", "killed", who=who),
        Action(_soon(random), "refresh", who=other),
    ]


def closed_in_mid_save(random: Random, who: int, other: int) -> list[Action]:
    """A session is closed when its token has arrived and is being saved."""
    return [
        Action(0.0, "store", SLOW_SAVE, random.choice((1, 2)), random.choice((0.5, 2.0)), who),
        Action(0.0, "refresh", who=who),
        Action(round(random.uniform(0.1, 4.0), 3), "close", who=who),
        Action(_soon(random), "refresh", who=other),
    ]


EPISODES: tuple[Episode, ...] = (
    refreshed_in_mid_save, logged_out_in_mid_save, logged_out_behind_a_lock, shorter, edited, refused_everywhere,
    killed_in_mid_flight, closed_in_mid_save,
)  # fmt: skip


def episode(random: Random, setting: Setting, after: float) -> list[Action]:
    """Return the actions of one, the first of them after so many seconds."""
    who, other = random.sample(range(len(setting.skews)), 2)
    first, *others = random.choice(EPISODES)(random, who, other)
    return [Action(after + first.after, first.kind, first.what, first.n, first.x, first.who), *others]
