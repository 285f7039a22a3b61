"""A check that cannot fail proves nothing: the library is broken in every way that was thought of, and found out."""

import pytest

from .mutants import MUTANTS, Mutant, applied
from .mutants.machinery import original_of
from .play import play
from .scenarios import scenario

SCHEDULES = 6_000
"""More than the hardest to find has needed."""


def schedules_until_found(mutant: Mutant) -> int | None:
    """Return how many schedules it takes to notice the defect."""
    with applied(mutant):
        for seed in range(SCHEDULES):
            if play(scenario(seed)).violations:
                return seed + 1
    return None


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what is broken may close nothing
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_broken_library_is_found_out(mutant: Mutant) -> None:
    assert schedules_until_found(mutant) is not None


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
