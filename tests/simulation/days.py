"""A scenario (the setting, and a list of things that happen) and what came of it: plain data, to print and cut down."""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Action", "Run", "Scenario", "Setting"]


@dataclass(frozen=True, slots=True)
class Action:
    """Something that happens `after` so many seconds.

    what: which variant. n: how often, or to how many. x: seconds, or a share. who: which process of a fleet.
    """

    after: float
    kind: str
    what: str = ""
    n: int = 1
    x: float = 0.0
    who: int = 0


@dataclass(frozen=True, slots=True)
class Setting:
    """What does not change.

    two_factor: "", "typed" (a code given as text) or "callable". slow: the share of exchanges that take real time.
    throttle: for `Throttle`, None for none. pacing: so many requests, in so many seconds, and so far apart; or nothing.
    skews: for each process of a fleet the seconds by which its clock is wrong; none for a session without a store.
    without_credentials: which of them can take tokens from the store only.
    """

    lifetime: float
    policy: dict[str, Any]
    two_factor: str = ""
    callable_password: bool = False
    boottime: bool = True
    slow: float = 0.3
    keep_alive: bool = False
    throttle: dict[str, Any] | None = field(default_factory=dict[str, Any])
    pacing: tuple[int, int, float] | tuple[()] = ()
    skews: tuple[float, ...] = ()
    without_credentials: int = -1


@dataclass(frozen=True, slots=True)
class Scenario:
    """A seed (of what chance decides on the way), a setting, and the actions."""

    seed: int
    setting: Setting
    actions: tuple[Action, ...]

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}", f"{self.setting}", *(f"  {action}" for action in self.actions)])


@dataclass
class Run:
    """What came of a scenario: violations (none, if all is well), and everything that happened.

    known: violations that are known, and still to be mended in the library.
    """

    scenario: Scenario
    violations: list[str] = field(default_factory=list[str])
    known: list[str] = field(default_factory=list[str])
    trace: list[tuple[object, ...]] = field(default_factory=list[tuple[object, ...]], repr=False)

    @property
    def is_over(self) -> bool:
        """Whether something has gone wrong, so that nothing that follows would tell anything."""
        return bool(self.violations or self.known)

    def __str__(self) -> str:
        lines = [" ".join(str(part) for part in entry) for entry in self.trace]
        return "\n".join([str(self.scenario), "", *lines, "", *self.violations, *self.known])
