"""Ways to break the library, by what they break. Each replaces one function of it (see `machinery.py`)."""

from . import ends, fleets, flights, requests, times, tokens, unauthorized
from .machinery import Mutant, applied

__all__ = ["MUTANTS", "Mutant", "applied"]

MUTANTS = tuple(
    mutant for each in (flights, times, tokens, requests, ends, unauthorized, fleets) for mutant in each.MUTANTS
)
