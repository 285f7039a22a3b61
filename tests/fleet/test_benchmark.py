"""The benchmark of fleets, on a small scale."""

import json
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fleet.py"


@pytest.mark.fleet
async def test_the_benchmark_counts_what_a_store_saves() -> None:
    """One JSON row per fleet: with a store never two token requests at once, and the others adopt."""
    arguments = [str(SCRIPT), "--quick", "--processes", "2", "--seconds", "2", "--json"]
    process = await create_subprocess_exec(sys.executable, *arguments, stdout=PIPE)
    output, _ = await process.communicate()
    rows = {(row["store"], row["in_step"]): row for row in json.loads(output)}
    assert process.returncode == 0
    assert rows["none", False]["token_requests_per_interval"] > 0.9
    shared = [row for (store, _), row in rows.items() if store != "none"]
    assert len(shared) == 4
    assert all(row["most_at_once"] == 1 and row["start_p99"] is not None for row in shared)
