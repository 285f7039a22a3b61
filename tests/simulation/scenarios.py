"""From a seed to a day."""

from random import Random

from .actions import Scenario, alone_scenario
from .fleet.actions import fleet_scenario

__all__ = ["scenario"]


def scenario(seed: int) -> Scenario:
    """Return the scenario of a seed: that of one session, or, for every fourth, of a fleet."""
    random = Random(seed)
    return fleet_scenario(seed, random) if seed % 4 == 1 else alone_scenario(seed, random)
