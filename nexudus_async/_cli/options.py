"""The options that several commands have, and how they are written in the help."""

from typing import Annotated

import typer

from nexudus_async.errors import NexudusAuthError

from . import log
from .state import State

__all__ = ["AccountName", "AsJson", "BaseUrl", "Body", "Include", "Path", "Verbose"]


def _show_log(wanted: bool) -> bool:
    log.show(wanted)
    return wanted


def _known_accounts() -> list[str]:
    """Return the names to complete `--account` with."""
    try:
        return sorted({account.username for account in State().accounts()})
    except (NexudusAuthError, OSError):
        return []


AccountName = Annotated[
    str | None,
    typer.Option(
        "--account",
        envvar="NEXUDUS_ACCOUNT",
        autocompletion=_known_accounts,
        help="Whose tokens to use, by user name. The default is who signed in last.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", envvar="NEXUDUS_BASE_URL", help="Where Nexudus is. The default is where you signed in."),
]
Body = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Send the JSON in this file; - stands for standard input."),
]
Include = Annotated[bool, typer.Option("--include", "-i", help="Print status and headers first.")]
Path = Annotated[str, typer.Argument(help="Path and query, such as /api/public/teams/my.", show_default=False)]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", callback=_show_log, is_eager=True, help="Tell on standard error what happens."),
]
