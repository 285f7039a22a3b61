"""What `import nexudus_async` takes beside `import aiohttp`: processor time of the import alone, in a new process.

The compiled modules are in a directory of the benchmark's own, so that everybody's are there when it is measured.

Use: python benchmarks/import_time.py [--json] [--quick]
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable

import _harness

CODE = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"
MODULES = ("aiohttp", "nexudus_async", "aiohttp_oauth2_client.middleware", "httpx")


def of(module: str, compiled: str) -> Callable[[], Awaitable[float]]:
    """Return a round: the milliseconds that importing a module takes."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    variables["PYTHONPYCACHEPREFIX"] = compiled

    async def measure() -> float:
        command = [sys.executable, "-c", CODE.format(module)]
        ended = subprocess.run(command, check=True, capture_output=True, text=True, env=variables)  # noqa: ASYNC221
        return float(ended.stdout) * 1e3

    return measure


async def main(*, quick: bool) -> _harness.Figures:
    with tempfile.TemporaryDirectory() as compiled:
        found = await _harness.rounds({module: of(module, compiled) for module in MODULES}, 3 if quick else 40)
    return {
        f"import {module}": {
            "milliseconds": statistics.median(figures),
            "of aiohttp": _harness.median_ratio(figures, found["aiohttp"]),
        }
        for module, figures in found.items()
    }


if __name__ == "__main__":
    given = _harness.options(__doc__).parse_args()
    _harness.show("import", asyncio.run(main(quick=given.quick)), as_json=given.json)
