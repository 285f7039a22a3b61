"""Thousands of bad days; none of the six nevers may happen on any of them, and in the end all is well."""

import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from .days import Action, Run, Scenario, Setting
from .play import play
from .scenarios import scenario
from .shrink import shrink

PARTS = 40
"""Pieces of work for the processes: enough that none is idle for long."""


RARE = (
    Scenario(
        143735,
        Setting(3600.0, {}, boottime=False, slow=0.9),
        (
            Action(0.0, "token"),
            Action(1954.001, "revoke access"),
            Action(0.032, "listener", "token"),
            Action(0.01, "get", x=0.008),
            Action(0.042, "step wall", x=7200.0),
        ),
    ),
)
"""Days that came only once in a hundred thousand, and were not well."""


def first_failing(seeds: range) -> int | None:
    return next((seed for seed in seeds if play(scenario(seed)).violations), None)


def failing_seeds(seeds: range) -> Iterable[int]:
    size = max(1, -(-len(seeds) // PARTS))
    parts = [seeds[start : start + size] for start in range(0, len(seeds), size)]
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(parts)), get_context("spawn")) as pool:
        yield from (seed for seed in pool.map(first_failing, parts) if seed is not None)


@pytest.mark.timeout(0)  # as long as `--schedules` makes it
def test_nothing_that_must_never_happen_happens(pytestconfig: pytest.Config) -> None:
    """`--schedules` says how many days, `--seed` from which on; a failing one is printed as short as it can be."""
    start, count = pytestconfig.option.seed, pytestconfig.option.schedules
    for seed in failing_seeds(range(start, start + count)):
        pytest.fail(f"seed {seed}, shrunk:\n{shrink(play(scenario(seed)))}", pytrace=False)


@pytest.mark.parametrize("day", RARE, ids=[str(day.seed) for day in RARE])
def test_a_rare_day_is_well_now(day: Scenario) -> None:
    assert play(day).violations == []


@pytest.mark.parametrize("seed", range(30))
def test_a_seed_reproduces_a_day_exactly(seed: int) -> None:
    first, second = play(scenario(seed)), play(scenario(seed))
    assert first.trace == second.trace
    assert scenario(seed) == scenario(seed)


def test_the_days_are_bad_enough() -> None:
    """The trace of a few hundred days has everything in it that the simulation is meant to bring about."""
    seen: set[str] = set()
    for seed in range(300):
        for _, *parts in play(scenario(seed)).trace:
            seen.update(str(part) for part in parts)
    wanted = {
        "not sent", "throttled", "answered by a service in trouble", "answer lost", "refused", "delivered",
        "cancelled", "timed out", "got nothing", "answered 401", "answered 200", "SessionClosedError",
        "LoginRequiredError", "CredentialsRejectedError", "TotpRequiredError", "PasswordResetRequiredError",
        "EndpointUnavailableError", "MalformedResponseError", "WrongHostError", "served", "empty", "latch",
        "TokenObtained", "TokenRejected", "RefreshFailed",
    }  # fmt: skip
    assert wanted <= seen, wanted - seen


def test_shrinking_leaves_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect that takes one cancellation and one fault to show is shown by two actions."""
    from . import shrink as module

    def fake(each: Scenario) -> Run:
        run = play(each)
        kinds = [action.kind for action in run.scenario.actions]
        run.violations = ["late"] if "cancel" in kinds and "fault" in kinds else []
        return run

    monkeypatch.setattr(module, "play", fake)
    seed = next(seed for seed in range(100) if fake(scenario(seed)).violations)
    shortest = shrink(fake(scenario(seed)))
    assert sorted(action.kind for action in shortest.scenario.actions) == ["cancel", "fault"]
