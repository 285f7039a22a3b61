"""A real Chromium without a screen, steered through its own debugging protocol."""

import asyncio
import itertools
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = Path("/usr/bin/chromium")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)
_PATIENCE = 30.0  # real seconds


class Tab:
    """One page. `errors` holds what its scripts threw and what the browser refused to load."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.errors: list[str] = []

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == number:
                assert "error" not in message, message
                return dict(message["result"])
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(json.dumps(message["params"]))

    async def run(self, script: str) -> Any:
        """Return what a script comes to; a promise is waited for."""
        found = await self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, script: str) -> None:
        """Return once a script comes to true."""
        async with asyncio.timeout(_PATIENCE):
            while not await self.run(script):  # noqa: ASYNC110  a browser tells nobody
                await asyncio.sleep(0.05)


@asynccontextmanager
async def tab(url: str, profile: Path) -> AsyncGenerator[Tab]:
    """Start a browser of its own, and open a page in it."""
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *_FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile)},
    )
    try:
        async with aiohttp.ClientSession() as http, asyncio.timeout(4 * _PATIENCE):
            port = await _port(profile / "DevToolsActivePort")
            async with http.get(f"http://127.0.0.1:{port}/json/list") as response:
                (page,) = [each for each in await response.json() if each["type"] == "page"]
            async with http.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                opened = Tab(socket)
                for domain in ("Page", "Runtime", "Log"):
                    await opened.send(f"{domain}.enable")
                await opened.send("Page.navigate", url=url)
                await opened.until(f"document.readyState === 'complete' && location.href.startsWith({url!r})")
                yield opened
    finally:
        process.kill()
        await process.wait()


async def _port(file: Path) -> int:
    async with asyncio.timeout(_PATIENCE):
        while not (lines := _lines(file)):  # noqa: ASYNC110  nor when it is up
            await asyncio.sleep(0.05)
    return int(lines[0])


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
