"""Other processes, to be killed."""

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def python(code: str, *arguments: str) -> Generator[subprocess.Popen[str], None, None]:
    """Run `code` in another process, go on when it has printed "ready", and kill it at the end."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def kill(process: "subprocess.Popen[str]", after: float = 0) -> None:
    """Send SIGKILL `after` so many seconds, and wait for the end."""
    time.sleep(after)
    process.kill()
    process.wait()
