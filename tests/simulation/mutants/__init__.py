"""Ways to break the library, by what they break. Each replaces one function of it (see `machinery.py`)."""

from . import ends, flights, requests, times, tokens
from .machinery import Mutant, applied

__all__ = ["MUTANTS", "Mutant", "applied"]

MUTANTS = (*flights.MUTANTS, *times.MUTANTS, *tokens.MUTANTS, *requests.MUTANTS, *ends.MUTANTS)
