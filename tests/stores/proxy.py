"""A TCP proxy in front of a server, that can hold its answers back or lose them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress


class Proxy:
    """What the client sends always arrives; what the server answers passes only while `answering` is set.

    lose_next: cut the connection instead of delivering that many answers.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.answering = asyncio.Event()
        self.answering.set()
        self.lose_next = 0
        self.answers = 0
        self._connections: set[asyncio.Task[None]] = set()
        self._refusing = False

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def refuse(self) -> None:
        """Cut all connections, and let no other come about, until `accept`."""
        self._refusing = True
        for task in (*self._connections, *self._tasks):
            task.cancel()

    def accept(self) -> None:
        self._refusing = False

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        there = asyncio.create_task(self._pass_on(client, to_server))
        self._tasks.add(there)
        with suppress(OSError, asyncio.CancelledError):
            while data := await server.read(65536):
                self.answers += 1
                await self.answering.wait()
                if self.lose_next and not data.startswith(b"+OK"):  # the answers to the connection's own set-up
                    self.lose_next -= 1
                    break
                to_client.write(data)
        there.cancel()
        to_client.close()
        to_server.close()

    async def _pass_on(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            while data := await client.read(65536):
                to_server.write(data)
        to_server.close()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Proxy", None]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self._refusing:
                writer.close()
            else:
                self._connections.add(asyncio.create_task(self._serve(reader, writer)))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        yield self
        server.close()
        for task in (*self._connections, *self._tasks):
            task.cancel()
        await asyncio.gather(*self._connections, *self._tasks, return_exceptions=True)
        await asyncio.sleep(0)
