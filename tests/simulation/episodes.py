"""What seldom comes together by chance, for one session: a few actions in a row."""

from collections.abc import Callable
from random import Random
from typing import TypeAlias

from .days import Action, Setting

__all__ = ["episode"]

Episode: TypeAlias = Callable[[Random, Setting], list[Action]]


def revoked_again(random: Random, setting: Setting) -> list[Action]:
    """A token dies between the refresh that its predecessor's death has forced, and the replay."""
    return [
        Action(0.0, "revoke access"),
        Action(0.0, "get", n=random.choice((2, 5))),
        Action(_about(random, 0.02, 0.4, 3.0), "revoke access"),
        Action(_about(random, 1.0, 12.0), "get", n=2),
        Action(_about(random, 1.0, 12.0), "get"),
    ]


def locked_out(random: Random, setting: Setting) -> list[Action]:
    """All that the session has is revoked, and the password is another."""
    return [
        Action(0.0, "password", random.choice(("theirs", "suspended"))),
        Action(0.0, "revoke refresh"),
        Action(0.0, "revoke access"),
        Action(0.0, "get", n=random.choice((1, 3))),
        Action(_about(random, 1.0, 12.0), random.choice(("get", "denied", "send"))),
        Action(_about(random, 1.0, 12.0), "get"),
        Action(_about(random, 1.0, 60.0), random.choice(("heal", "pass"))),
        Action(_about(random, 1.0, 12.0), "get"),
    ]


def lost_and_broken(random: Random, setting: Setting) -> list[Action]:
    """An answer is lost; what comes next is an answer, and says nothing about the first."""
    lost = random.choice(("dropped after", "truncated", "garbage", "504 after"))
    return [
        Action(0.0, "fault", lost),
        Action(
            0.0, "fault", random.choice(("html 200", "html 200", "500 before", "503", "429")), n=random.choice((1, 3))
        ),
        Action(0.0, "refresh"),
        Action(_about(random, 2.0, 8.0, 40.0), "refresh"),
    ]


def trouble_in_the_margin(random: Random, setting: Setting) -> list[Action]:
    """Callers wait a little, with a token that is good, for a flight that is slow or fails; or somebody logs out."""
    into_the_margin = setting.lifetime - min(60.0, setting.lifetime / 10) * random.uniform(0.2, 0.8)
    fault = random.choice(("late to process", "late to process", "503", "refused connection"))
    return [
        Action(0.0, "refresh"),
        Action(round(into_the_margin, 3), "fault", fault, 40 if fault != "late to process" else 1, 28.0),
        Action(0.0, "token", n=2),
        Action(_about(random, 0.02, 1.0), random.choice(("logout", "token"))),
    ]


def expired_on_its_way(random: Random, setting: Setting) -> list[Action]:
    """A newer token ends before an older one does, and then the service is down."""
    return [
        Action(0.0, "fault", "expires on its way", n=random.choice((1, 2))),
        Action(0.0, "fault", random.choice(("503", "refused connection", "429")), n=40),
        Action(0.0, "refresh"),
        Action(_about(random, 2.0, 12.0), "token", n=2),
    ]


def gone_when_its_turn_comes(random: Random, setting: Setting) -> list[Action]:
    """Requests are held back by a throttled answer; when that is over, and it is their turn, their callers give up."""
    fault, seconds = random.choice((("429", 1.0), ("409", 2.0)))
    turns = [Action(0.0, random.choice(("pass", "cancel")), x=0.3) for _ in range(14)]
    return [
        Action(0.0, "api fault", fault),
        Action(0.0, "get"),
        Action(0.0, "get", n=30),
        Action(seconds, "pass"),
        *turns,
        Action(0.0, "get", n=2),
    ]


def closed_after_a_logout(random: Random, setting: Setting) -> list[Action]:
    """What a logout has cancelled has yet to end, and the next flight waits for that, when the session is closed."""
    turns = [Action(0.0, "pass")] * random.randrange(5)
    return [
        Action(0.0, "fault", "late", 1, 28.0),
        Action(0.0, "refresh"),
        Action(_about(random, 0.4, 8.0), "logout"),
        Action(0.0, "token"),
        *turns,
        Action(0.0, "close", random.choice(("", "cancelled", "in a cancelled scope", "in a cancelled scope"))),
    ]


def old_refresh_token(random: Random, setting: Setting) -> list[Action]:
    """Nobody asks for a token, and its refresh token gets old, when no other can be had."""
    trouble = (
        [Action(0.0, "outage", "503", 40, random.choice((0.0, 40.0)))],
        [Action(0.0, "revoke refresh"), Action(0.0, "password", random.choice(("theirs", "suspended")))],
    )
    passes = [Action(_about(random, 40.0, 70.0), "pass") for _ in range(3)]
    return [*random.choice(trouble), Action(0.0, "suspend", x=round(setting.lifetime * 0.48, 3)), *passes]


EPISODES: tuple[Episode, ...] = (
    revoked_again, locked_out, lost_and_broken, trouble_in_the_margin, expired_on_its_way, gone_when_its_turn_comes,
    closed_after_a_logout,
)  # fmt: skip


def episode(random: Random, setting: Setting, after: float) -> list[Action]:
    """Return the actions of one, the first of them after so many seconds."""
    first, *others = random.choice((old_refresh_token,) if setting.keep_alive else EPISODES)(random, setting)
    return [Action(after, first.kind, first.what, first.n, first.x), *others]


def _about(random: Random, *seconds: float) -> float:
    return round(random.choice(seconds) * random.uniform(0.3, 1.7), 3)
