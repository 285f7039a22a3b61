"""Credentials in the environment suffice for every command, and then nothing is kept."""

import asyncio
import json

import pytest

from .shell import ECHO, TEAMS, TOTP_SECRET, Shell, outcome


@pytest.mark.parametrize(
    "command",
    [["token"], ["token", "--json"], ["get", TEAMS], ["post", ECHO], ["status"], ["status", "--json"], ["logout"]],
)
async def test_every_command_works_without_a_login_and_keeps_nothing(shell: Shell, command: list[str]) -> None:
    result = await shell.run(*command, **shell.credentials)
    assert result.returncode == 0
    assert not shell.folder.exists()
    assert shell.emulator.sign_ins == (0 if command[0] in ("status", "logout") else 1), "status asks nobody"


async def test_status_says_that_nothing_is_kept(shell: Shell) -> None:
    result = await shell.run("status", **shell.credentials)
    first = f"{shell.emulator.username} signs in with every command, at {shell.emulator.url}\n"
    assert outcome(result) == (0, f"{first}kept in       nothing: NEXUDUS_PASSWORD is set\n", "")
    known = json.loads((await shell.run("status", "--json", **shell.credentials)).stdout)
    assert (known["signed_in"], known["account"], known["store"]) == (True, shell.emulator.username, "none")


async def test_without_a_base_url_it_is_the_service_itself(shell: Shell) -> None:
    result = await shell.run("status", "--json", NEXUDUS_BASE_URL="", **shell.credentials)
    assert json.loads(result.stdout)["base_url"] == "https://spaces.nexudus.com"


async def test_environment_comes_before_who_signed_in_and_account_before_both(shell: Shell) -> None:
    """As in other command lines. Who is named is meant."""
    shell.emulator.add_user("other@example.com", "other password")
    await shell.log_in(username="other@example.com")
    result = await shell.run("get", TEAMS, **shell.credentials)
    assert json.loads(result.stdout)[0]["Administrator"] == shell.emulator.username
    named = {"NEXUDUS_ACCOUNT": "Other@Example.com"}
    for arguments, env in ((["--account", "other@example.com"], {}), ([], named)):
        result = await shell.run("get", TEAMS, *arguments, **shell.credentials, **env)
        assert json.loads(result.stdout)[0]["Administrator"] == "other@example.com"


async def test_who_signed_in_as_well_goes_on_with_the_tokens_kept_then(shell: Shell) -> None:
    """And where: the place need not be told again, nor is a sign-in spent on every command."""
    await shell.run("login", **shell.credentials)
    for _ in range(2):
        assert (await shell.run("get", TEAMS, NEXUDUS_BASE_URL="", **shell.credentials)).returncode == 0
    assert shell.emulator.sign_ins == 1
    shell.emulator.revoke_all()
    assert (await shell.run("get", TEAMS, **shell.credentials)).returncode == 0, "the password gets new ones"


async def test_a_hundred_commands_leave_one_refresh_token_behind(shell: Shell) -> None:
    """Nexudus keeps one for each `client_id`: a new one for every command would fill it up."""
    for _ in range(2):
        await shell.run("token", **shell.credentials)
    first, second = shell.emulator.token_requests
    assert first.client_id == second.client_id
    assert shell.emulator.username not in (first.client_id or "")
    shell.emulator.add_user("other@example.com", "pw")
    await shell.run("token", NEXUDUS_USERNAME="other@example.com", NEXUDUS_PASSWORD="pw")
    assert shell.emulator.token_requests[-1].client_id != first.client_id, "one account must not end another's"


async def test_what_is_kept_and_cannot_be_read_is_of_no_matter(shell: Shell) -> None:
    shell.folder.mkdir(mode=0o700)
    (shell.folder / "account.json").write_text("not JSON")
    assert (await shell.run("get", TEAMS, **shell.credentials)).returncode == 0
    result = await shell.run("status", **shell.credentials)
    assert result.returncode == 0
    assert "cannot be read" in result.stderr


async def test_wrong_password_names_the_variables(shell: Shell) -> None:
    result = await shell.run("token", **shell.credentials | {"NEXUDUS_PASSWORD": "mistyped"})
    assert (result.returncode, result.stdout) == (3, "")
    assert "; check NEXUDUS_USERNAME and NEXUDUS_PASSWORD\n" in result.stderr
    assert "mistyped" not in result.stderr


async def test_a_name_without_a_password_is_not_enough(shell: Shell) -> None:
    result = await shell.run("token", NEXUDUS_USERNAME=shell.emulator.username)
    assert (result.returncode, result.stdout) == (3, "")
    assert "NEXUDUS_PASSWORD is not set" in result.stderr


async def test_two_factor_takes_its_key_from_the_environment(shell: Shell) -> None:
    shell.emulator.user.totp_secret = TOTP_SECRET
    result = await shell.run("token", **shell.credentials)
    assert (result.returncode, result.stdout) == (3, "")
    assert "two-factor on: set NEXUDUS_TOTP_SECRET, or type a code at nexudus-async login\n" in result.stderr
    assert (await shell.run("token", NEXUDUS_TOTP_SECRET=TOTP_SECRET, **shell.credentials)).returncode == 0
    result = await shell.run("token", NEXUDUS_TOTP_SECRET="not base32!", **shell.credentials)
    assert (result.returncode, result.stdout) == (2, "")
    assert "base32" in result.stderr


async def test_logout_says_that_the_environment_still_signs_in(shell: Shell) -> None:
    result = await shell.run("logout", **shell.credentials)
    assert result.stdout == "Nobody was signed in.\n"
    assert "NEXUDUS_USERNAME and NEXUDUS_PASSWORD are still set" in result.stderr


async def test_ten_commands_at_once_get_on_with_each_other(shell: Shell) -> None:
    """They end each other's refresh tokens, which none of them needs."""
    results = await asyncio.gather(*(shell.run("get", TEAMS, **shell.credentials) for _ in range(4)))
    assert [result.returncode for result in results] == [0] * 4
