"""The bad days of `test_bad_days.py` take long and mostly wait: they are played while the other tests run."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fleet.py"
LOOKS_AT_THEM = "test_bad_days.py"


def _file() -> IO[str]:
    return tempfile.TemporaryFile("w+")


@dataclass
class Playing:
    """One run of the benchmark on its small scale."""

    output: IO[str] = field(default_factory=_file)
    errors: IO[str] = field(default_factory=_file)

    def __post_init__(self) -> None:
        command = [sys.executable, str(SCRIPT), "--bad-days", "--quick", "--json"]
        self.process = subprocess.Popen(command, stdout=self.output, stderr=self.errors, text=True)

    def result(self, seconds: float) -> str:
        """Wait for its end, and return what it has printed."""
        code = self.process.wait(seconds)
        for file in (self.output, self.errors):
            file.seek(0)
        assert code == 0, self.errors.read()[-3000:]
        return self.output.read()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.output.close()
        self.errors.close()


PLAYING = pytest.StashKey[Playing]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks at them comes last."""
    items.sort(key=lambda item: item.path.name == LOOKS_AT_THEM)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to play them, if they will be looked at."""
    wanted = any(item.path.name == LOOKS_AT_THEM for item in session.items)
    if wanted and not session.config.option.collectonly:
        session.config.stash[PLAYING] = Playing()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if PLAYING in session.config.stash:
        session.config.stash[PLAYING].end()


@pytest.fixture(scope="session")
def playing(request: pytest.FixtureRequest) -> Playing:
    """The run that was begun before the first test."""
    return request.config.stash[PLAYING]
