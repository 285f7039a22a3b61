"""The commands that call the API: get, post, put, patch, delete."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated

import typer
from yarl import URL

from nexudus_async.errors import ConfigurationError
from nexudus_async.stores import TokenStore

from .calls import Answer, send, target_of
from .log import listener
from .loop import run
from .options import AccountName, BaseUrl, Body, Include, Path, Verbose
from .output import fail, show_body, working
from .paging import print_pages
from .state import State
from .who import Caller, choose
from .words import HTTP_ERROR

__all__ = ["delete", "get", "patch", "post", "put"]


def get(
    path: Path,
    include: Include = False,
    paginate: Annotated[
        bool, typer.Option("--paginate", help="Print the Records of this and all later pages, one a line.")
    ] = False,
    account: AccountName = None,
    base_url: BaseUrl = None,
    _verbose: Verbose = False,
) -> None:
    """Call the API with the token, and print the answer.

    In a pipe or file the body is as it came; on a terminal JSON is indented and coloured. It is printed whatever the
    status. Exit code 5, and a line on standard error, unless that is 2xx.
    """
    if paginate and include:
        raise ConfigurationError("--include and --paginate cannot go together: there would be many headers")
    state = State()
    caller = choose(state, account, base_url)
    target, store = target_of(caller.base_url, path), caller.store(state)
    if paginate:
        failed = run(print_pages(partial(caller.session, store), target))
        if failed is not None:
            raise typer.Exit(fail(failed, HTTP_ERROR))
    else:
        _print("GET", target, run(_send(caller, store, "GET", target)), include=include)


def _writing(method: str) -> Callable[..., None]:
    def command(
        path: Path,
        body: Body = None,
        include: Include = False,
        account: AccountName = None,
        base_url: BaseUrl = None,
        _verbose: Verbose = False,
    ) -> None:
        content = None if body is None else _read(body)
        state = State()
        caller = choose(state, account, base_url)
        target, store = target_of(caller.base_url, path), caller.store(state)
        _print(method, target, run(_send(caller, store, method, target, content)), include=include)

    command.__name__ = method.lower()
    command.__doc__ = (
        f"Send a {method} request with the token, and print the answer as get does.\n\n"
        "It is sent once more only after a 401 or when the service asked to wait: it did nothing then."
    )
    return command


post, put, patch, delete = map(_writing, ("POST", "PUT", "PATCH", "DELETE"))


async def _send(
    caller: Caller, store: TokenStore | None, method: str, target: URL, body: bytes | None = None
) -> Answer:
    with working(f"{method} {target.path}") as tell:
        async with caller.session(store, listener(tell)) as session:
            return await send(session, method, target, body, tell)


def _print(method: str, target: URL, answer: Answer, *, include: bool) -> None:
    sys.stdout.flush()
    if include:
        sys.stdout.buffer.write(answer.head)
    show_body(answer.body, answer.content_type)
    if not answer.ok:
        sys.stdout.flush()
        raise typer.Exit(fail(f"{method} {target.path}: {answer.status}", HTTP_ERROR))


def _read(source: str) -> bytes:
    """Return the JSON in a file, or of standard input for "-", in UTF-8. Raises `ConfigurationError` for other text."""
    name = "standard input" if source == "-" else source
    try:
        content = sys.stdin.buffer.read() if source == "-" else FilePath(source).read_bytes()
    except (OSError, ValueError) as exc:  # ValueError: no name of a file can be like that
        if source.lstrip()[:1] in ("{", "["):
            raise ConfigurationError("--json takes a file with the JSON in it, or - for standard input") from None
        reason = exc.strerror if isinstance(exc, OSError) else "there is no such file"
        raise ConfigurationError(f"{name} cannot be read: {reason or type(exc).__name__}") from exc
    try:
        text = content.decode(json.detect_encoding(content))  # as Windows writes it, too
        json.loads(text, parse_constant=_no_json)
    except json.JSONDecodeError as exc:
        problem = f"{exc.msg}, line {exc.lineno} column {exc.colno}"
    except UnicodeDecodeError:
        problem = "it cannot be decoded"
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError as exc:
        problem = str(exc)
    else:
        return text.encode()
    raise ConfigurationError(f"{name} is not JSON: {problem}")


def _no_json(constant: str) -> None:
    """Refuse NaN and Infinity, which Python takes."""
    raise ValueError(f"{constant} is not a JSON number")
