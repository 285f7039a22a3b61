"""Several accounts signed in, at one place or several: which is used, and how another is named."""

import asyncio
import json

from nexudus_async.testing import NexudusEmulator

from .shell import FORKS, NOBODY, PLAIN, TEAMS, Shell

OPS, OTHER = "ops@example.com", "other@example.com"


async def administrator(shell: Shell, *arguments: str, **env: str) -> str:
    """Return whose token a call carries."""
    result = await shell.run("get", TEAMS, *arguments, **env)
    assert result.returncode == 0, result.stderr
    return str(json.loads(result.stdout)[0]["Administrator"])


async def sign_both_in(shell: Shell) -> None:
    shell.emulator.add_user(OTHER, "pw")
    await shell.log_in()
    await shell.log_in(username=OTHER)


async def test_the_last_that_signed_in_is_used_unless_another_is_named(shell: Shell) -> None:
    await sign_both_in(shell)
    assert await administrator(shell) == OTHER
    assert await administrator(shell, "--account", "OPS@example.com ") == OPS
    assert await administrator(shell, NEXUDUS_ACCOUNT=OPS) == OPS
    await shell.log_in()
    assert await administrator(shell) == OPS


async def test_status_lists_all_first_who_is_used(shell: Shell) -> None:
    await sign_both_in(shell)
    result = await shell.run("status")
    first, second, rest = result.stdout.split("\n\n")
    assert first.startswith(f"{OTHER} is signed in at {shell.emulator.url}\n")
    assert second.startswith(f"{OPS} is signed in at {shell.emulator.url}\n")
    assert rest == "The first is used, unless --account or NEXUDUS_ACCOUNT names another.\n"
    known = json.loads((await shell.run("status", "--json", "--account", OPS)).stdout)
    assert known["account"] == OPS
    assert [(each["account"], each["store"], each["signed_in"]) for each in known["accounts"]] == [
        (OPS, "file", True),
        (OTHER, "file", True),
    ]


async def test_unknown_account_names_those_that_are_signed_in(shell: Shell) -> None:
    await sign_both_in(shell)
    url = shell.emulator.url
    for command in (["token"], ["get", TEAMS], ["status"], ["logout"]):
        result = await shell.run(*command, "--account", "nobody@example.com")
        assert (result.returncode, result.stdout) == (3, "")
        assert result.stderr == (
            f"nexudus-async: nobody@example.com is not signed in at {url}. "
            f"Signed in: {OTHER} at {url}, {OPS} at {url}\n"
        )


async def test_another_base_url_names_the_one_that_is_signed_in(shell: Shell) -> None:
    """And no token goes there."""
    await shell.log_in()
    async with NexudusEmulator() as other:
        result = await shell.run("get", TEAMS, "--base-url", other.url)
        assert (result.returncode, result.stdout) == (3, "")
        assert result.stderr == (
            f"nexudus-async: nobody is signed in at {other.url}. Signed in: {OPS} at {shell.emulator.url}\n"
        )
        assert not other.requests
        result = await shell.run("status", "--json", "--base-url", other.url)
        known = json.loads(result.stdout)
        assert (result.returncode, known["signed_in"], known["accounts"][0]["account"]) == (3, False, OPS)


async def test_base_url_is_compared_as_an_origin(shell: Shell) -> None:
    """Not as text: a slash at the end, or capital letters, are the same place."""
    await shell.log_in()
    assert await administrator(shell, "--base-url", f"{shell.emulator.url.upper().replace('HTTP', 'http')}/") == OPS


async def test_logout_is_for_one_account(shell: Shell) -> None:
    await sign_both_in(shell)
    result = await shell.run("logout")
    assert result.stdout == f"{OTHER} is signed out at {shell.emulator.url}.\n"
    assert await administrator(shell) == OPS
    result = await shell.run("logout", "--account", OPS)
    assert result.stdout == f"{OPS} is signed out at {shell.emulator.url}.\n"
    assert (await shell.run("token")).stderr == NOBODY


async def test_account_whose_tokens_have_ended_is_listed_as_such(shell: Shell) -> None:
    """Whoever ended them: here a logout by a program that shares the file."""
    await sign_both_in(shell)
    (shell.folder / "tokens.json").unlink()
    await shell.log_in()
    result = await shell.run("status")
    assert result.returncode == 0
    assert f"\n\n{OTHER} was signed in at {shell.emulator.url}; the tokens have ended\n" in result.stdout


async def test_accounts_that_sign_in_at_once_are_all_kept(shell: Shell) -> None:
    """The list is one file, and each command writes the whole of it."""
    names = [f"user{number}@example.com" for number in range(4)]
    for name in names:
        shell.emulator.add_user(name, "pw")
    await asyncio.gather(*(shell.log_in(username=name) for name in names))
    known = json.loads((await shell.run("status", "--json")).stdout)
    assert sorted(each["account"] for each in known["accounts"] if each["signed_in"]) == names


async def test_file_with_one_account_is_read_as_it_was_written_before_there_were_several(shell: Shell) -> None:
    await shell.log_in()
    document = {"username": OPS, "base_url": shell.emulator.url}
    (shell.folder / "account.json").write_text(json.dumps(document))
    assert await administrator(shell, NEXUDUS_BASE_URL="") == OPS


async def test_login_takes_the_name_as_an_option_and_no_password_of_another(shell: Shell) -> None:
    shell.emulator.add_user(OTHER, "pw")
    result = await shell.run("login", "--account", OTHER, typed="pw\n", **shell.credentials)
    assert (result.returncode, result.stdout) == (0, f"{OTHER} is signed in at {shell.emulator.url}.\n")
    result = await shell.run("login", "--account", OTHER, **shell.credentials)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "nexudus-async: no password was given: type it, or pipe it in\n"


async def test_completion_knows_the_accounts(shell: Shell) -> None:
    await sign_both_in(shell)
    env = shell.env | {
        "_NEXUDUS_ASYNC_COMPLETE": "complete_bash",
        "COMP_WORDS": "nexudus-async token --account o",
        "COMP_CWORD": "3",
    }
    result = await asyncio.to_thread(FORKS.run, env=env)
    assert result.stdout.split() == [OPS, OTHER]
    env["NEXUDUS_STATE_DIR"] = "/dev/null/nowhere"
    result = await asyncio.to_thread(FORKS.run, env=env)
    assert (result.stdout.strip(), result.stderr) == ("", "")


def test_completion_knows_the_commands_and_their_options() -> None:
    env = PLAIN | {"_NEXUDUS_ASYNC_COMPLETE": "complete_bash", "COMP_WORDS": "nexudus-async p", "COMP_CWORD": "1"}
    assert FORKS.run(env=env).stdout.split() == ["post", "put", "patch"]
    env |= {"COMP_WORDS": "nexudus-async get --pag", "COMP_CWORD": "2"}
    assert FORKS.run(env=env).stdout.split() == ["--paginate"]
    shown = FORKS.run("--show-completion", "bash", env=PLAIN | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert "_NEXUDUS_ASYNC_COMPLETE=complete_bash" in shown.stdout
