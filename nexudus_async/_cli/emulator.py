"""The command `emulator`: a Nexudus on this machine, until Ctrl-C."""

import asyncio
import errno
import os
import socket
import sys
from typing import Annotated, Final

import typer

from nexudus_async.testing import NexudusEmulator

from .options import AsJson, Verbose
from .output import fail, own_line, say, say_json
from .words import FAILED, OK

__all__ = ["emulator"]

PASSWORD: Final = "emulator"  # noqa: S105 - of no account that exists, and easy to type in any shell


def emulator(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where to listen; 0 takes a free port.")] = 0,
    lifetime: Annotated[float, typer.Option(min=1, help="Seconds that access tokens live.")] = 604_799,
    as_json: AsJson = False,
    _verbose: Verbose = False,
) -> None:
    """Serve a Nexudus emulator on this machine until Ctrl-C.

    Exit code 1 if the port is taken.
    """
    try:
        asyncio.run(_serve(port, lifetime, as_json=as_json))
    except KeyboardInterrupt:  # the way to end it
        own_line()
        raise typer.Exit(OK) from None
    except OSError as exc:
        raise typer.Exit(fail(_why(exc, "127.0.0.1", port), FAILED)) from None


async def _serve(port: int, lifetime: float, *, as_json: bool) -> None:
    async with NexudusEmulator(port=port, lifetime=lifetime) as server:
        user = server.add_user(server.username, PASSWORD)
        if as_json:
            say_json({"base_url": server.url, "username": user.username, "password": user.password})
        else:
            say(
                f"Nexudus emulator at {server.url}; access tokens live {lifetime:g} s. Ctrl-C ends it.",
                "",
                f"export NEXUDUS_BASE_URL={server.url}",
                f"export NEXUDUS_USERNAME={user.username}",
                f"export NEXUDUS_PASSWORD={user.password}",
                "",
                f"curl {server.url}/api/token "
                f"-d grant_type=password -d username={user.username} -d password={user.password}",
            )
        sys.stdout.flush()  # in a pipe it would wait for the end
        await asyncio.Event().wait()


def _why(error: OSError, host: str, port: int) -> str:
    """Return why the emulator cannot listen, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use by another program; try --port {_free_port(host)}, or --port 0"
    return f"cannot listen at {host}, port {port}: {os.strerror(error.errno or 0)}"


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
