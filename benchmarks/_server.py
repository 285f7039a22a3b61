"""The service that the benchmarks talk to: just enough HTTP, so that what is measured is the client.

Use: python benchmarks/_server.py [--delay SECONDS] [--lifetime SECONDS]

It answers `POST /api/token` after a delay, `GET /count` with the number of token requests since the last time it was
asked, and everything else at once. It prints its port. It ends when its standard input does.
"""

import argparse
import asyncio
import json
import sys

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_ANSWER = _HEAD % (14, b'{"Id":1234567}')
_END = b"\r\n\r\n"


class Service(asyncio.Protocol):
    """One connection. Requests are answered one after another; none of them is pipelined."""

    tokens = 0
    delay = 0.0
    lifetime = 604_799.0
    made = 0

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(_END)
        if not end or len(body) < _content_length(head):
            return
        self._received = b""
        if head.startswith(b"POST /api/token"):
            Service.tokens += 1
            asyncio.get_running_loop().call_later(self.delay, self._answer, self._token())
        elif head.startswith(b"GET /count"):
            self._answer(_json({"tokens": Service.tokens}))
            Service.tokens = 0
        else:
            self._answer(_ANSWER)

    def _answer(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)

    def _token(self) -> bytes:
        Service.made += 1
        number = Service.made
        return _json(
            {
                "access_token": f"made-up-access-{number:06}-" + 200 * "a",
                "refresh_token": f"made-up-refresh-{number:06}",
                "token_type": "bearer",
                "expires_in": int(self.lifetime),
            }
        )


def _json(value: object) -> bytes:
    body = json.dumps(value).encode()
    return _HEAD % (len(body), body)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--delay", type=float, default=0.0)
    options.add_argument("--lifetime", type=float, default=604_799.0)
    given = options.parse_args()
    Service.delay, Service.lifetime = given.delay, given.lifetime
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Service, "127.0.0.1", 0, backlog=4_096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
