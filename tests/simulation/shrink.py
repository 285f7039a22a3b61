"""Makes a failing scenario as short as it can be: what is left is what matters."""

from collections.abc import Iterator
from dataclasses import replace

from .days import Action, Run, Scenario
from .play import play

__all__ = ["shrink"]

MOST_PLAYS = 400


def shrink(run: Run) -> Run:
    """Return the shortest failing run that can be found by leaving out actions and making the rest simpler."""
    best, plays, progress = run, 0, True
    while progress and plays < MOST_PLAYS:
        progress = False
        for candidate in _simpler(best.scenario):
            plays += 1
            attempt = play(candidate)
            if _kind(attempt) == _kind(run):
                best, progress = attempt, True
                break
    return best


def _kind(run: Run) -> str:
    """What went wrong first, without its numbers: shrinking must not wander off to something else."""
    return "".join(letter for letter in run.violations[0] if not letter.isdigit()) if run.violations else ""


def _simpler(scenario: Scenario) -> Iterator[Scenario]:
    """Yield scenarios that are a bit simpler, the boldest cuts first."""
    actions = scenario.actions
    size = len(actions)
    while size := size // 2:
        for start in range(0, len(actions), size):
            yield replace(scenario, actions=actions[:start] + actions[start + size :])
    for index, action in enumerate(actions):
        for simpler in _simpler_action(action):
            yield replace(scenario, actions=(*actions[:index], simpler, *actions[index + 1 :]))
    setting = scenario.setting
    if setting.policy:
        yield replace(scenario, setting=replace(setting, policy={}))
    if setting.slow:
        yield replace(scenario, setting=replace(setting, slow=0.0))


def _simpler_action(action: Action) -> Iterator[Action]:
    if action.after:
        yield replace(action, after=0.0)
    if action.n > 1:
        yield replace(action, n=1)
    if action.what == "again":
        yield replace(action, what="")
