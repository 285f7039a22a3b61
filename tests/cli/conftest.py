"""One user's shell, with an emulator."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from nexudus_async.testing import NexudusEmulator

from .shell import Shell


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncGenerator[Shell]:
    async with NexudusEmulator() as emulator:
        yield Shell(emulator, tmp_path / "state")
