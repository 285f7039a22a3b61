"""Run every benchmark, one after another.

Use: python benchmarks/run_all.py [--quick] [--json]

With `--quick` it takes about a minute and shows that they run; its figures mean nothing. It judges none in either case.
"""

import subprocess
import sys
import time

import _harness

SCRIPTS = (
    "hot_path.py", "hot_path.py --uvloop", "cold_herd.py", "cold_herd.py --uvloop", "expiry_cliff.py",
    "expiry_cliff.py --uvloop", "cancellation_storm.py", "many_accounts.py", "import_time.py", "job_rate.py",
    "fleet.py", "fleet.py --bad-days", "soak.py",
)  # fmt: skip

PLAYED_BY_TESTS = "fleet.py --bad-days"
"""On its small scale by `tests/fleet/test_bad_days.py`, too."""


def main() -> int:
    given = _harness.options(__doc__).parse_args()
    options = [name for name, wanted in (("--quick", given.quick), ("--json", given.json)) if wanted]
    failed: list[str] = []
    for script in SCRIPTS:
        if given.quick and script == PLAYED_BY_TESTS:
            continue
        name, *own = script.split()
        start = time.perf_counter()
        print(f"## {script}", flush=True, file=sys.stderr)
        command = [sys.executable, str(_harness.HERE / name), *own, *options]
        if subprocess.run(command, check=False).returncode:
            failed.append(script)
        print(f"## {script}: {time.perf_counter() - start:.0f} s", flush=True, file=sys.stderr)
    print(f"## failed: {', '.join(failed) or 'none'}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
