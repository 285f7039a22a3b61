"""A check that cannot fail proves nothing: the library is broken in every way that was thought of, and found out."""

import inspect
import logging
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from .mutants import MUTANTS, Mutant, applied
from .mutants.machinery import Change, original_of
from .play import play
from .scenarios import scenario_in

SCHEDULES = {"alone": 2_000, "fleet": 3_000}
"""Of each world: more than the hardest to find has needed."""


def schedules_until_found(name: str) -> int | None:
    """Return how many days of its world it takes to notice the defect."""
    mutant = next(each for each in MUTANTS if each.name == name)
    with applied(mutant):
        for seed in range(SCHEDULES[mutant.world]):
            if play(scenario_in(mutant.world, seed)).violations:
                return seed + 1
    return None


def quietly() -> None:
    """Prepare a process: what is broken may close nothing, and is not to be heard of."""
    sys.unraisablehook = lambda _: None
    logging.getLogger("asyncio").disabled = True


@pytest.fixture(scope="module")
def found(request: pytest.FixtureRequest) -> Iterator[dict[str, "Future[int | None]"]]:
    """The search for all mutants that are asked for, on all processors."""
    wanted = {item.name for item in request.session.items}
    names = [mutant.name for mutant in MUTANTS if any(f"[{mutant.name}]" in each for each in wanted)]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), quietly) as pool:
        yield {name: pool.submit(schedules_until_found, name) for name in names}
        pool.shutdown(cancel_futures=True)


@pytest.mark.soak
@pytest.mark.timeout(0)  # the first waits for all that are before it in their processes
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_broken_library_is_found_out(mutant: Mutant, found: dict[str, "Future[int | None]"]) -> None:
    assert found[mutant.name].result() is not None


def test_what_was_broken_is_whole_again() -> None:
    """Every replacement is made, and taken back."""
    changes = [change for mutant in MUTANTS for change in mutant.changes]
    whole = [original_of(change) for change in changes]
    for mutant in MUTANTS:
        with applied(mutant):
            assert all(original_of(change) not in whole for change in mutant.changes)
    assert [original_of(change) for change in changes] == whole


def test_mutants_have_names_of_their_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("change", [change for mutant in MUTANTS for change in mutant.changes], ids=str)
def test_a_replacement_can_be_called_as_what_it_replaces(change: Change) -> None:
    """Else it would be found by its own `TypeError`, whatever the defect."""
    original = original_of(change)
    whole = original.fget if isinstance(original, property) else original
    assert callable(whole)
    parameters = inspect.signature(whole).parameters.values()
    by_name = {each.name: None for each in parameters if each.kind is each.KEYWORD_ONLY}
    others = [None for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    inspect.signature(change.replacement).bind(original, *others, **by_name)
