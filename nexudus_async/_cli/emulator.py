"""The command `emulator`: a Nexudus on this machine, until Ctrl-C."""

import asyncio
import errno
import ipaddress
import math
import os
import shlex
import signal
import socket
import sys
from typing import Annotated, Any, Final

import typer

from nexudus_async._credentials import totp_from_secret
from nexudus_async.errors import ConfigurationError
from nexudus_async.testing import CONTROL_HELP, SEED_HELP, NexudusEmulator, User

from .loop import run
from .options import AsJson
from .output import NAME, fail, note, own_line, say, say_json
from .request_log import RequestLog
from .words import FAILED, OK

__all__ = ["CONTROL", "emulator"]

PASSWORD: Final = "emulator"  # noqa: S105 - of no account that exists, and easy to type in any shell
REMEMBERED: Final = 10_000
"""Requests that the control interface can still tell of: an emulator may run for weeks."""
LONGEST: Final = 3_153_600_000
"""Seconds: a century, as far as the emulator's clock goes."""
CONTROL: Final = (
    "Control interface, for programs of any language: HTTP and JSON below /_emulator. /_emulator/health tells that it "
    "is up; users, faults, revoke, issue, jwt, clock, settings, requests, counts, sessions, seed and reset set and "
    f"show everything. {NAME} emulator --control-help has it all, and so has GET /_emulator. A page for people is at /."
)


def _print_control_help(wanted: bool) -> None:
    if wanted:
        say(CONTROL_HELP, SEED_HELP.rstrip())
        raise typer.Exit(OK)


def _number(value: float) -> float:
    if math.isnan(value):  # which typer, depending on its version, finds neither too small nor too large
        raise typer.BadParameter("that is not a number")
    return value


Users = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME:PASSWORD", help="Who can sign in; may be given several times.", show_default=False),
]
ControlHelp = Annotated[
    bool, typer.Option("--control-help", callback=_print_control_help, is_eager=True, help="Print how to drive it.")
]


def emulator(
    *,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where to listen; 0 takes a free port.")] = 0,
    user: Users = None,
    totp_secret: Annotated[
        str | None, typer.Option(metavar="BASE32", help="Ask them for a two-factor code made from this key.")
    ] = None,
    lifetime: Annotated[
        float, typer.Option(min=1, max=LONGEST, callback=_number, help="Seconds that access tokens live.")
    ] = 604_799,
    enforce_limits: Annotated[bool, typer.Option("--enforce-limits", help="Throttle as Nexudus documents it.")] = False,
    seed: Annotated[
        str | None, typer.Option(metavar="FILE", help="Begin with the users, records, settings and faults in there.")
    ] = None,
    as_json: AsJson = False,
    _control_help: ControlHelp = False,
) -> None:
    """Serve a Nexudus emulator on this machine until Ctrl-C, and log its requests.

    It prints what to set so that programs, and the other commands here, use it. The log has no secrets.

    Only this machine can reach it. With another --host, whoever reaches the port can sign in, read every token and
    set everything: there is no password on it.

    Exit code 1 if the port is taken.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # how containers and service managers end it
    try:
        server = NexudusEmulator(
            host=host, port=port, lifetime=lifetime, enforce_limits=enforce_limits, keep_requests=REMEMBERED,
            on_request=(log := RequestLog(sys.stderr if as_json else sys.stdout)).add,
        )  # fmt: skip
        users = _populate(server, user or [], totp_secret, seed)
        run(_serve(server, log, host, users, as_json=as_json))
    except (KeyboardInterrupt, asyncio.CancelledError):  # the ways to end it
        own_line()
        raise typer.Exit(OK) from None
    except OSError as exc:
        raise typer.Exit(fail(_why(exc, host, port), FAILED)) from None


def _let_it_end() -> None:
    """Take a service manager's end for what ends the task that runs; a second one is nothing new.

    An exception out of a signal's handler would come in the middle of whatever is at work. SIGINT is left alone: it is
    ignored where a shell script started this in the background.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not task.done():
            loop.call_soon_threadsafe(task.cancel)

    signal.signal(signal.SIGTERM, end)


def _populate(server: NexudusEmulator, given: list[str], totp_secret: str | None, seed: str | None) -> list[User]:
    """Add the users that were asked for, or the usual one, and return them: first those of the command line."""
    if totp_secret is not None:
        totp_from_secret(totp_secret)  # raises for what is no key
    usual = server.username
    server.remove_user(usual)
    if seed is not None:
        try:
            server.load_seed(seed)
        except OSError as exc:
            raise ConfigurationError(f"{seed} cannot be read: {exc.strerror or type(exc).__name__}") from None
        except ValueError as exc:
            raise ConfigurationError(str(exc)) from None
    seeded = server.users
    named = [each.partition(":") for each in given or ([] if seeded else [f"{usual}:{PASSWORD}"])]
    if not all(name and password for name, _, password in named):
        raise ConfigurationError("--user is written NAME:PASSWORD, such as ops@example.com:secret")
    added = [server.add_user(name, password, totp_secret=totp_secret) for name, _, password in named]
    users = [*added, *(each for each in seeded if each in server.users)]
    server.user = users[0]  # whom the control interface means where it is given no name
    return users


async def _serve(server: NexudusEmulator, log: RequestLog, host: str, users: list[User], *, as_json: bool) -> None:
    _let_it_end()
    async with server:
        if as_json:
            say_json(_described(server, users[0]))
        else:
            say(*_announced(server, users[0], alone=_is_loopback(host)))
        if not _is_loopback(host):
            note(f"whoever reaches {host} can sign in here, read every token and set everything")
        sys.stdout.flush()  # in a pipe it would wait for the end
        with log:
            await asyncio.Event().wait()


def _described(server: NexudusEmulator, user: User) -> dict[str, Any]:
    known = {"base_url": server.url, "username": user.username, "password": user.password}
    return known | {"totp_secret": user.totp_secret, "control": f"{server.url}/_emulator"}


def _announced(server: NexudusEmulator, user: User, *, alone: bool) -> list[str]:
    name, password = shlex.quote(user.username), shlex.quote(user.password)
    who = "only this machine reaches it" if alone else "other machines reach it, too"
    return [
        f"Nexudus emulator at {server.url}: {who}; access tokens live {server.lifetime:.10g} s. Ctrl-C ends it.",
        f"A page for people is at {server.url}/, and {NAME} emulator --control-help says how programs drive it.",
        "",
        f"export NEXUDUS_BASE_URL={server.url}",
        f"export NEXUDUS_USERNAME={name}",
        f"export NEXUDUS_PASSWORD={password}",
        *([f"export NEXUDUS_TOTP_SECRET={shlex.quote(user.totp_secret)}"] if user.totp_secret else []),
        "",
        f"curl {server.url}/api/token "
        f"-d grant_type=password --data-urlencode username={name} --data-urlencode password={password}",
        "",
    ]


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _why(error: OSError, host: str, port: int) -> str:
    """Return why the emulator cannot listen, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return f"{host}:{port}: address already in use; try --port {_free_port(host)}, or --port 0 for any free one"
    if error.errno == errno.EACCES:
        return f"port {port} is for the system: take one from 1024 on, such as --port {_free_port(host)}"
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return f"cannot listen at {host}, port {port}: {reason or 'there is no such address here'}"


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as probe:
        port: int = probe.getsockname()[1]
    return port
