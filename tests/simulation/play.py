"""Plays a scenario from beginning to end, with everything that is global under the seed, and puts that back."""

import logging
import random

from .days import Run, Scenario
from .fleet.world import FleetWorld
from .loop import Stuck, VirtualLoop
from .transport import seeded
from .world import World

__all__ = ["play"]


def play(scenario: Scenario) -> Run:
    """Return what came of a scenario. Nothing but the scenario decides about it."""
    run, chance = Run(scenario), random.Random(scenario.seed + 1)
    with seeded(chance):
        _play(run, chance)
    return run


def _play(run: Run, chance: random.Random) -> None:
    loop = VirtualLoop(chance)
    world: World | FleetWorld = (FleetWorld if run.scenario.setting.skews else World)(run, loop, chance)
    logger, handler, state = logging.getLogger("nexudus_async"), _LogHandler(world), random.getstate()
    level, propagate = logger.level, logger.propagate
    random.seed(run.scenario.seed)  # tenacity draws its waits from the module's own generator
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        loop.run(world.live())
    except Stuck as stuck:
        world.report(f"liveness: {stuck}")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
        random.setstate(state)


class _LogHandler(logging.Handler):
    """Sees every message as it is written, and so a failed flight at the moment when it fails."""

    def __init__(self, world: World | FleetWorld) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.on_log(record)
