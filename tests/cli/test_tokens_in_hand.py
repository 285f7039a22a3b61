"""login --refresh-token: who has no password, but tokens that somebody handed over."""

import pytest

from nexudus_async.testing import Fault

from .shell import TEAMS, Shell

OPS = "ops@example.com"


async def test_refresh_token_is_taken_in_place_of_a_password(shell: Shell) -> None:
    """From standard input; it is used up, and the commands live on what it brought."""
    pair = shell.emulator.issue()
    result = await shell.run("login", "--refresh-token", typed=f"{OPS}\n{pair.refresh_token}\n")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{OPS} is signed in at {shell.emulator.url}.\n"
    assert (await shell.run("get", TEAMS)).returncode == 0
    assert (shell.emulator.sign_ins, shell.emulator.renewals, shell.emulator.refresh_tokens_reused) == (0, 1, 0)
    kept = "".join(path.read_text() for path in shell.folder.iterdir())
    assert pair.refresh_token not in kept


async def test_client_id_is_the_one_it_was_issued_to(shell: Shell) -> None:
    """By option or variable; the later refreshes repeat it."""
    pair = shell.emulator.issue(client_id="somebody's worker", lifetime=3600)
    arguments = ("login", "--account", OPS, "--refresh-token", "--client-id", "somebody's worker")
    result = await shell.run(*arguments, NEXUDUS_REFRESH_TOKEN=pair.refresh_token)
    assert (result.returncode, result.stderr) == (0, "")
    shell.emulator.revoke_access_tokens()
    assert (await shell.run("get", TEAMS)).returncode == 0
    assert [record.client_id for record in shell.emulator.token_requests] == ["somebody's worker"] * 2


@pytest.mark.parametrize(("client_id", "again"), [("another", False), (OPS, True)])
async def test_refresh_token_that_is_refused_is_one_line(shell: Shell, client_id: str, again: bool) -> None:
    """Of another `client_id`, or used before; who was signed in stays so."""
    await shell.log_in()
    pair = shell.emulator.issue()
    env = {"NEXUDUS_REFRESH_TOKEN": pair.refresh_token, "NEXUDUS_USERNAME": OPS}
    if again:
        assert (await shell.run("login", "--refresh-token", **env)).returncode == 0
    result = await shell.run("login", "--refresh-token", **env, NEXUDUS_CLIENT_ID=client_id)
    assert (result.returncode, result.stdout) == (3, "")
    assert (
        "the refresh token was refused: it was used, has ended, or was issued to another --client-id" in result.stderr
    )
    assert (await shell.run("get", TEAMS)).returncode == 0


async def test_refresh_token_is_not_sent_where_its_successor_could_not_be_kept(shell: Shell) -> None:
    """It would be lost."""
    shell.folder.mkdir(mode=0o700)
    (shell.folder / "tokens.json").mkdir()
    pair = shell.emulator.issue()
    result = await shell.run("login", "--refresh-token", NEXUDUS_REFRESH_TOKEN=pair.refresh_token, NEXUDUS_USERNAME=OPS)
    assert (result.returncode, result.stdout) == (1, "")
    assert not shell.emulator.token_requests


async def test_service_that_is_down_costs_no_refresh_token(shell: Shell) -> None:
    """A complete 503 has not used it."""
    pair = shell.emulator.issue()
    shell.emulator.fail("token", Fault.answer(503), times=None)
    env = {"NEXUDUS_REFRESH_TOKEN": pair.refresh_token, "NEXUDUS_USERNAME": OPS}
    assert (await shell.run("login", "--refresh-token", **env)).returncode == 4
    shell.emulator.faults.clear()
    assert (await shell.run("login", "--refresh-token", **env)).returncode == 0
