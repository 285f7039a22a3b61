"""A keyring for tests: keyring's own interface, over a file, so that several processes share it."""

import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

FILE = "FAKE_KEYRING_FILE"
NAME = f"{__name__}.FileKeyring"


class FileKeyring(KeyringBackend):
    """Does what the file says: an object is what it keeps, `"locked"` is a keyring that refuses."""

    priority: float = 5  # pyright: ignore[reportIncompatibleVariableOverride, reportAssignmentType] - as backends write it

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def get_password(self, service: str, username: str) -> str | None:
        return self._entries().get(f"{service}/{username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        entries = self._entries() | {f"{service}/{username}": password}
        self._path.write_text(json.dumps(entries))

    def delete_password(self, service: str, username: str) -> None:
        raise NotImplementedError

    @property
    def _path(self) -> Path:
        return Path(os.environ[FILE])

    def _entries(self) -> dict[str, str]:
        if not self._path.exists():
            return {}
        document: dict[str, str] | str = json.loads(self._path.read_text())
        if isinstance(document, str):
            raise KeyringLocked("it stayed locked; the secret is hunter2")
        return document
