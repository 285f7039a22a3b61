"""The commands about who is signed in: login, status, token, logout."""

from dataclasses import asdict
from typing import Annotated

import typer

from nexudus_async._http.arguments import DEFAULT_BASE_URL
from nexudus_async.errors import ConfigurationError, StoreError

from . import keys
from .calls import Status, current_token, log_out, look_up
from .login import credentials_for_login, credentials_in_hand, log_in
from .loop import run
from .options import AccountName, AsJson, BaseUrl, Verbose
from .output import NAME, fail, in_words, note, say, say_json
from .state import Account, NotSignedInError, State, origin_of
from .who import Caller, choose, credentials_in_environment
from .words import SIGN_IN, message_of

__all__ = ["login", "logout", "status", "token"]


def login(
    *,
    account: Annotated[
        str | None, typer.Option("--account", envvar="NEXUDUS_ACCOUNT", help="The user name, in place of the question.")
    ] = None,
    base_url: Annotated[str, typer.Option(envvar="NEXUDUS_BASE_URL", help="Where Nexudus is.")] = DEFAULT_BASE_URL,
    refresh_token: Annotated[
        bool, typer.Option("--refresh-token", help="Take a refresh token in place of the password.")
    ] = False,
    client_id: Annotated[
        str | None,
        typer.Option(envvar="NEXUDUS_CLIENT_ID", help="Whom it was issued to. The default is the user name."),
    ] = None,
    keyring: Annotated[bool, typer.Option(help="Keep the tokens by the platform's keyring, if it has one.")] = True,
    as_json: AsJson = False,
    _verbose: Verbose = False,
) -> None:
    """Sign in, and keep the tokens for the other commands.

    Asks for user name and password, and for a code if the account has two-factor. NEXUDUS_USERNAME,
    NEXUDUS_PASSWORD and NEXUDUS_TOTP_SECRET are taken instead. What is piped in is read by the line.

    The password is not kept. The tokens are, in a file that only you can read: in your folder for such things, or in
    NEXUDUS_STATE_DIR. With the extra keyring they are encrypted there, and the key is in the platform's keyring.

    Who has no password, but tokens from somebody who signed in, gives --refresh-token: it is read from
    NEXUDUS_REFRESH_TOKEN, or asked for, and used up.

    Several accounts can be signed in. The last one is used, unless --account names another.
    """
    url = origin_of(base_url)
    username, credentials = credentials_in_hand(account, client_id) if refresh_token else credentials_for_login(account)
    token = log_in(State(), Account(username, url), credentials, keyring=keyring)
    if as_json:
        say_json({"account": username, "base_url": url, "expires_at": token.expires_at.isoformat()})
    else:
        say(f"{username} is signed in at {url}.")


def logout(account: AccountName = None, base_url: BaseUrl = None, _verbose: Verbose = False) -> None:
    """Forget the tokens. Processes that share them notice it when theirs are due for a refresh.

    The service is not told: Nexudus has no way to end a token before its time.
    """
    state = State()
    url = None if base_url is None else origin_of(base_url)
    if account is None and not state.accounts():
        say("Nobody was signed in.")
    else:
        found = state.account(account, url)
        there_were_any = run(log_out(found, state.store(found.kept_in)))
        state.forget(found)
        say(f"{found.username} is signed out at {found.base_url}." if there_were_any else "Nobody was signed in.")
    if credentials_in_environment() is not None:
        note("NEXUDUS_USERNAME and NEXUDUS_PASSWORD are still set: every command signs in with them")


def status(
    account: AccountName = None, base_url: BaseUrl = None, as_json: AsJson = False, _verbose: Verbose = False
) -> None:
    """Say who is signed in, where, and for how long: first who is used, then all others.

    Shows no secret, asks nobody, and refreshes nothing. Exit code 3 if nobody is signed in.
    """
    state = State()
    complaint = f"nobody is signed in, or not any more: {NAME} login"
    try:
        caller = choose(state, account, base_url)
    except NotSignedInError as exc:
        caller, complaint = None, str(exc)
    first = Status(signed_in=False) if caller is None else _status(state, caller)
    others = [_status_if_readable(state, each) for each in _all(state) if caller is None or each != caller.account]
    if as_json:
        known = others if caller is None else [first, *others]
        say_json(asdict(first) | {"accounts": [asdict(each) for each in known]})
    elif first.signed_in:
        blocks = [_told(state, first), *(_told(state, each) for each in others)]
        say("\n\n".join("\n".join(block) for block in blocks))
        if others:
            say("", "The first is used, unless --account or NEXUDUS_ACCOUNT names another.")
    if not first.signed_in:
        raise typer.Exit(fail(complaint, SIGN_IN))


def token(
    account: AccountName = None,
    base_url: BaseUrl = None,
    header: Annotated[bool, typer.Option("--header", help="Print the whole header, as curl -H @- reads it.")] = False,
    as_json: AsJson = False,
    _verbose: Verbose = False,
) -> None:
    """Print the access token, a new one if need be. It is a secret: mind where it goes.

    In the arguments of a program every user of the machine can read it. With --header, curl takes it from a pipe.

    Exit code 3 if nobody is signed in.
    """
    if header and as_json:
        raise ConfigurationError("--header and --json cannot go together")
    state = State()
    caller = choose(state, account, base_url)
    found = run(current_token(caller, caller.store(state)))
    if as_json:
        expires_at = found.expires_at.isoformat()
        say_json({"access_token": str(found.access_token), "token_type": found.token_type, "expires_at": expires_at})
    else:
        say("Authorization: " + str(found.authorization) if header else str(found.access_token))


def _status(state: State, caller: Caller) -> Status:
    if caller.account is None:
        return Status(True, caller.username, caller.base_url, store="none")
    return run(look_up(caller.account, state.store(caller.account.kept_in)))


def _all(state: State) -> list[Account]:
    try:
        return state.accounts()
    except StoreError as exc:
        note(str(exc))
        return []


def _status_if_readable(state: State, account: Account) -> Status:
    """Return the status of an account that is only listed: what is wrong with it must not hide the others."""
    try:
        return _status(state, Caller(account.username, account.base_url, account))
    except StoreError as exc:
        note(f"{account}: {message_of(exc)}")
        return Status(False, account.username, account.base_url, "unreadable", store=account.kept_in)


def _told(state: State, status: Status) -> list[str]:
    who, where = status.account, status.base_url
    if status.store == "none":
        return [f"{who} signs in with every command, at {where}", "kept in       nothing: NEXUDUS_PASSWORD is set"]
    if not status.signed_in:
        return [f"{who} was signed in at {where}; the tokens have ended"]
    left = status.expires_in or 0
    lines = [
        f"{who} is signed in at {where}",
        f"client_id     {status.client_id}",
        f"access token  {status.state}, {'ends in ' + in_words(left) if left > 0 else 'the next command refreshes it'}",
        f"refreshable   {'until ' + status.renewable_until if status.renewable_until else 'no'}",
    ]
    if status.store == "keyring":
        path = state.path_of_tokens("keyring")
        return [*lines, f"kept in       {path}, encrypted; the key is in the keyring ({keys.backend_name()})"]
    return [*lines, f"kept in       {state.path_of_tokens('file')}, which only you can read"]
