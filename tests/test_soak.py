"""The soak, for four seconds; by hand it takes ten minutes: `python benchmarks/soak.py`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "benchmarks" / "soak.py"


@pytest.mark.soak
def test_a_short_soak_breaks_nothing() -> None:
    ran = subprocess.run(
        [sys.executable, str(SOAK), "--seconds", "4", "--workers", "100", "--json"],
        capture_output=True, text=True, timeout=60, check=False, cwd=SOAK.parents[1],
    )  # fmt: skip
    report = json.loads(ran.stdout or "{}")
    assert ran.returncode == 0, ran.stderr[-2000:] or report
    assert report["broken"] == []
    assert report["most_token_requests_at_once"] == 1
    assert report["refresh_tokens_reused"] == {}
