"""login, status, token and logout: real processes, an emulator on loopback, a state folder of their own."""

import asyncio
import json
import re
import stat
from pathlib import Path

import pytest

from nexudus_async import FileStore, LoginRequiredError, TokenSession
from nexudus_async.testing import Fault, NexudusEmulator

from .shell import NOBODY, PLAIN, TEAMS, TOTP_SECRET, Shell, Terminal, outcome


async def test_from_login_to_logout(shell: Shell) -> None:
    """One sign-in serves every later command; the password is needed, and kept, by none."""
    user, url = shell.emulator.username, shell.emulator.url
    result = await shell.run("login", typed=f"{user}\n{shell.emulator.password}\n")
    assert outcome(result) == (0, f"{user} is signed in at {url}.\n", "")

    result = await shell.run("status")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{user} is signed in at {url}\nclient_id     nexudus-async-")
    assert "fresh, ends in 6 days" in result.stdout

    token = (await shell.run("token")).stdout
    assert token.strip() in shell.emulator.secrets
    result = await shell.run("get", TEAMS)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)[0]["Administrator"] == user
    assert shell.emulator.requests[-1].headers["Authorization"] == f"Bearer {token.strip()}"
    assert (shell.emulator.sign_ins, shell.emulator.renewals) == (1, 0)

    assert outcome(await shell.run("logout")) == (0, f"{user} is signed out at {url}.\n", "")
    for command in (["status"], ["token"], ["get", TEAMS]):
        assert outcome(await shell.run(*command)) == (3, "", NOBODY)
    assert outcome(await shell.run("logout")) == (0, "Nobody was signed in.\n", "")
    assert not [secret for secret in shell.emulator.secrets if secret in (shell.folder / "tokens.json").read_text()]


async def test_token_goes_to_curl_without_being_an_argument(shell: Shell) -> None:
    """As a whole header, from a pipe; --json is another thing."""
    await shell.log_in()
    token = (await shell.run("token")).stdout
    result = await shell.run("token", "--header")
    assert outcome(result) == (0, f"Authorization: Bearer {token}", "")
    assert (await shell.run("token", "--header", "--json")).returncode == 2


async def test_files_are_for_their_owner_and_hold_no_password(shell: Shell) -> None:
    await shell.log_in()
    account = shell.folder / "account.json"
    known = {"username": shell.emulator.username, "base_url": shell.emulator.url, "kept_in": "file"}
    assert json.loads(account.read_text()) == {"accounts": [known]}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in shell.folder.iterdir()}
    assert set(modes.values()) == {0o600}
    assert {"account.json", "tokens.json"} <= set(modes)
    assert stat.S_IMODE(shell.folder.stat().st_mode) == 0o700
    assert not [path for path in shell.folder.iterdir() if shell.emulator.password in path.read_text()]


async def test_environment_is_taken_instead_of_questions(shell: Shell) -> None:
    result = await shell.run(
        "login", "--json", NEXUDUS_USERNAME=shell.emulator.username, NEXUDUS_PASSWORD=shell.emulator.password
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout).keys() == {"account", "base_url", "expires_at"}


async def test_base_url_is_remembered_and_can_be_told(shell: Shell) -> None:
    """Tokens of one place are never used at another."""
    await shell.log_in()
    assert (await shell.run("get", TEAMS, NEXUDUS_BASE_URL="")).returncode == 0
    async with NexudusEmulator() as other:
        result = await shell.run("get", TEAMS, "--base-url", other.url)
        assert (result.returncode, result.stdout) == (3, "")
        assert not other.requests


async def test_status_as_json_shows_no_secret(shell: Shell) -> None:
    await shell.log_in()
    result = await shell.run("status", "--json")
    known = json.loads(result.stdout)
    assert (known["signed_in"], known["account"], known["state"]) == (True, shell.emulator.username, "fresh")
    assert 604_000 < known["expires_in"] <= 604_799
    await shell.run("logout")
    result = await shell.run("status", "--json")
    assert (result.returncode, json.loads(result.stdout)["signed_in"]) == (3, False)


async def test_status_asks_nobody_and_token_refreshes(shell: Shell) -> None:
    shell.emulator.lifetime = 1
    await shell.log_in()
    await asyncio.sleep(1.1)
    shell.emulator.lifetime = 3600
    result = await shell.run("status")
    assert result.returncode == 0
    assert "expired, the next command refreshes it" in result.stdout
    assert shell.emulator.renewals == 0
    result = await shell.run("token", "--json")
    assert json.loads(result.stdout)["access_token"] in shell.emulator.secrets
    assert (shell.emulator.sign_ins, shell.emulator.renewals) == (1, 1)


async def test_wrong_password_costs_nothing_that_was_there(shell: Shell) -> None:
    """Not the tokens, nor the next attempt: refused credentials do not rest where a person types them."""
    result = await shell.run("login", typed=f"{shell.emulator.username}\nmistyped\n")
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.startswith("nexudus-async: the sign-in was refused (invalid_grant")
    assert "mistyped" not in result.stderr
    await shell.log_in()
    assert (await shell.run("login", typed=f"{shell.emulator.username}\nmistyped\n")).returncode == 3
    assert (await shell.run("get", TEAMS)).returncode == 0


async def test_login_again_replaces_the_tokens_that_others_use(shell: Shell) -> None:
    await shell.log_in()
    first = (await shell.run("token")).stdout
    await shell.log_in()
    assert shell.emulator.sign_ins == 2
    assert (await shell.run("token")).stdout != first


async def test_programs_share_the_tokens_and_the_logout(shell: Shell) -> None:
    """A worker without a password lives on what `login` left, and ends with `logout`."""
    await shell.log_in()
    store = FileStore(shell.folder / "tokens.json")
    async with TokenSession(store=store, account=shell.emulator.username, base_url=shell.emulator.url) as session:
        assert (await session.token()).access_token == (await shell.run("token")).stdout.strip()
    await shell.run("logout")
    async with TokenSession(store=store, account=shell.emulator.username, base_url=shell.emulator.url) as session:
        with pytest.raises(LoginRequiredError):
            await session.token()


async def test_login_with_two_factor_asks_for_a_code(shell: Shell) -> None:
    """Only then; a wrong one is exit code 3."""
    shell.emulator.user.totp_secret = TOTP_SECRET
    typed = f"{shell.emulator.username}\n{shell.emulator.password}\n"
    result = await shell.run("login", typed=typed)
    assert result.returncode == 2
    assert "no two-factor code was given" in result.stderr
    result = await shell.run("login", typed=typed + "000000\n")
    assert (result.returncode, result.stdout) == (3, "")
    result = await shell.run("login", typed=f"{typed}{shell.emulator.totp_code()}\n")
    assert (result.returncode, result.stderr) == (0, "")


async def test_login_with_the_secret_of_two_factor_asks_nothing(shell: Shell) -> None:
    shell.emulator.user.totp_secret = TOTP_SECRET
    typed = f"{shell.emulator.username}\n{shell.emulator.password}\n"
    result = await shell.run("login", typed=typed, NEXUDUS_TOTP_SECRET=TOTP_SECRET)
    assert (result.returncode, result.stderr) == (0, "")
    assert shell.emulator.sign_ins == 1


async def test_service_down_is_exit_code_4(shell: Shell) -> None:
    """A token that is still good is printed all the same."""
    await shell.log_in()
    await shell.emulator.stop()
    result = await shell.run("get", TEAMS)
    assert (result.returncode, result.stdout) == (4, "")
    assert result.stderr.endswith(" cannot be reached: Connection refused\n")
    result = await shell.run("login", typed=f"{shell.emulator.username}\n{shell.emulator.password}\n")
    assert (result.returncode, result.stdout) == (4, "")
    assert (await shell.run("token")).returncode == 0


async def test_https_where_there_is_plain_http_says_so(shell: Shell) -> None:
    """A mistype, or a port of something else."""
    url = shell.emulator.url.replace("http:", "https:")
    result = await shell.run("get", TEAMS, "--base-url", url, **shell.credentials)
    assert (result.returncode, result.stdout) == (4, "")
    assert "does not answer as https: is it a plain http server" in result.stderr


async def test_refresh_refused_is_exit_code_3(shell: Shell) -> None:
    await shell.log_in()
    shell.emulator.revoke_all()
    result = await shell.run("get", TEAMS)
    assert (result.returncode, result.stdout) == (3, "")


@pytest.mark.parametrize(("name", "code"), [("account.json", 1), ("tokens.json", 3)])
async def test_file_that_cannot_be_read_is_one_line_and_mended_by_login(shell: Shell, name: str, code: int) -> None:
    await shell.log_in()
    (shell.folder / name).write_text("not JSON")
    result = await shell.run("token")
    assert (result.returncode, result.stdout) == (code, "")
    assert name in result.stderr
    assert "login" in result.stderr or "sign in again" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    await shell.log_in()
    assert (await shell.run("get", TEAMS)).returncode == 0


@pytest.mark.parametrize(
    ("url", "complaint"),
    [("http://user:hunter2@127.0.0.1:1", "must not contain a user name"), ("http://example.com", "plain http")],
)
async def test_wrong_base_url_is_exit_code_2_before_anything_is_asked(shell: Shell, url: str, complaint: str) -> None:
    result = await shell.run("login", "--base-url", url, typed="")
    assert (result.returncode, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert "hunter2" not in result.stderr
    assert "allow_insecure_http" not in result.stderr, "there is no such option"


async def test_password_typed_at_a_terminal_is_not_shown(shell: Shell) -> None:
    shell.emulator.user.totp_secret = TOTP_SECRET
    shell.emulator.user.password = "typed-in-secret"

    def sit_down() -> tuple[int, str]:
        with Terminal("login", env=shell.env) as terminal:
            terminal.wait_for("User name: ")
            terminal.type(f"{shell.emulator.username}\n")
            terminal.wait_for("Password: ")
            terminal.type("typed-in-secret\n")
            terminal.wait_for("Two-factor code: ")
            terminal.type(f"{shell.emulator.totp_code()}\n")
            return terminal.end(), terminal.seen

    code, seen = await asyncio.to_thread(sit_down)
    assert code == 0
    assert "is signed in at" in seen
    assert "typed-in-secret" not in seen


async def test_wrong_code_is_asked_for_again_at_a_terminal(shell: Shell) -> None:
    """As the app shows it, in two groups; what was refused once is not held against the next."""
    shell.emulator.user.totp_secret = TOTP_SECRET
    env = shell.env | shell.credentials

    def sit_down() -> tuple[int, str]:
        with Terminal("login", env=env) as terminal:
            terminal.wait_for("Two-factor code: ")
            terminal.type("000000\n")
            terminal.wait_for("Two-factor code: ", 2)
            code = shell.emulator.totp_code()
            terminal.type(f"{code[:3]} {code[3:]}\n")
            return terminal.end(), terminal.text

    code, text = await asyncio.to_thread(sit_down)
    assert code == 0, text
    assert "that code was refused: type the next one that your app shows\n" in text
    assert shell.emulator.sign_ins == 1


async def test_wrong_codes_are_not_asked_for_without_end(shell: Shell) -> None:
    shell.emulator.user.totp_secret = TOTP_SECRET
    env = shell.env | shell.credentials

    def sit_down() -> tuple[int, str]:
        with Terminal("login", env=env) as terminal:
            for times in (1, 2, 3):
                terminal.wait_for("Two-factor code: ", times)
                terminal.type("000000\n")
            return terminal.end(), terminal.text

    code, text = await asyncio.to_thread(sit_down)
    assert code == 3
    assert text.endswith("nexudus-async: the two-factor code was refused: nexudus-async login asks for another\n")


@pytest.mark.parametrize("prompt", ["User name: ", "Password: "])
def test_nothing_more_to_come_at_a_question_is_no_answer(tmp_path: Path, prompt: str) -> None:
    """Ctrl-D: what is said of it begins on a line of its own."""
    given = {"NEXUDUS_USERNAME": "ops@example.com"} if prompt == "Password: " else {}
    with Terminal("login", env=PLAIN | {"NEXUDUS_STATE_DIR": str(tmp_path)} | given) as terminal:
        terminal.wait_for(prompt)
        terminal.type("\x04")
        assert terminal.end() == 2
    what = prompt.removesuffix(": ").lower()
    assert f"{prompt}\nnexudus-async: no {what} was given: type it" in terminal.text


@pytest.mark.parametrize("prompt", ["User name: ", "Password: "])
def test_interrupted_at_a_question_is_exit_code_130(tmp_path: Path, prompt: str) -> None:
    """And what comes next begins on a line of its own."""
    given = {"NEXUDUS_USERNAME": "ops@example.com"} if prompt == "Password: " else {}
    with Terminal("login", env=PLAIN | {"NEXUDUS_STATE_DIR": str(tmp_path)} | given) as terminal:
        terminal.wait_for(prompt)
        terminal.type("\x03")
        assert terminal.end() == 130
    assert terminal.seen.endswith("\n")
    assert not re.search("Traceback|Error", terminal.seen)


@pytest.mark.parametrize(
    ("fault", "code", "complaint"),
    [
        (Fault.html(), 1, "no token endpoint of Nexudus is there (it answered 200): --base-url, or NEXUDUS_BASE_URL"),
        (Fault.json({"error": "must_reset_password", "error_description": "hunter2"}, 400), 3, "do that in Nexudus\n"),
        (Fault.answer(503), 4, "the token endpoint answered 503"),
        (Fault.dropped(), 4, "the token endpoint at 127.0.0.1 dropped the request\n"),
    ],
)
async def test_what_else_a_sign_in_can_meet(shell: Shell, fault: Fault, code: int, complaint: str) -> None:
    """In words for a person at a shell, without the secrets that came along."""
    shell.emulator.fail("token", fault, times=None)
    result = await shell.run("login", **shell.credentials)
    assert (result.returncode, result.stdout) == (code, "")
    assert complaint in result.stderr
    assert "hunter2" not in result.stderr
