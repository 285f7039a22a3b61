"""From a seed to a day."""

from random import Random
from typing import Literal, TypeAlias

from .actions import alone_scenario
from .days import Scenario
from .fleet.actions import fleet_scenario

__all__ = ["World", "scenario", "scenario_in"]

World: TypeAlias = Literal["alone", "fleet"]
"""One session without a store, or a fleet."""


def scenario(seed: int) -> Scenario:
    """Return the scenario of a seed: that of one session, or, for every third, of a fleet."""
    return scenario_in("fleet" if seed % 3 == 1 else "alone", seed)


def scenario_in(world: World, seed: int) -> Scenario:
    """Return the scenario of a seed in one of the worlds."""
    return (fleet_scenario if world == "fleet" else alone_scenario)(seed, Random(seed))
