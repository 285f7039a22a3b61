"""`python -m tests.simulation SEED`: play one seed and print everything that happened, shrunk if it fails."""

import sys

from .play import play
from .scenarios import scenario
from .shrink import shrink

run = play(scenario(int(sys.argv[1])))
print(shrink(run) if run.violations else run)
sys.exit(bool(run.violations))
