"""Tokens kept by the platform's keyring: encrypted in a file, with the key in the keyring."""

import asyncio
import json
import stat
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keyring
import pytest
from cryptography.fernet import Fernet
from keyring.backend import KeyringBackend
from keyring.backends import fail, null

from nexudus_async import EncryptedStore, FileStore, StoreError, TokenSession
from nexudus_async._cli import keys

from .fake_keyring import FILE, NAME, FileKeyring
from .shell import NO_KEYRING, TEAMS, Shell

OPS = "ops@example.com"


class Ring:
    """The keyring that all commands of the shell use."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def content(self) -> str:
        return self._path.read_text()

    @content.setter
    def content(self, text: str) -> None:
        self._path.write_text(text)

    @property
    def key(self) -> str:
        (key,) = json.loads(self.content).values()
        return str(key)


@pytest.fixture
def ring(shell: Shell, tmp_path: Path) -> Ring:
    path = tmp_path / "keyring.json"
    shell.more = {"PYTHON_KEYRING_BACKEND": NAME, FILE: str(path), "PYTHONPATH": str(Path(__file__).parents[2])}
    return Ring(path)


def plain_text(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.iterdir())


async def test_tokens_are_in_no_file_that_can_be_read_without_the_keyring(shell: Shell, ring: Ring) -> None:
    await shell.log_in()
    assert not [secret for secret in shell.emulator.secrets if secret in plain_text(shell.folder)]
    assert ring.key not in plain_text(shell.folder)
    assert {stat.S_IMODE(path.stat().st_mode) for path in shell.folder.iterdir()} == {0o600}
    assert (await shell.run("get", TEAMS)).returncode == 0
    assert shell.emulator.sign_ins == 1


async def test_status_says_where_the_tokens_are(shell: Shell, ring: Ring) -> None:
    await shell.log_in()
    path = shell.folder / "tokens.encrypted.json"
    shown = (await shell.run("status")).stdout
    assert f"kept in       {path}, encrypted; the key is in the keyring (fake keyring FileKeyring)\n" in shown
    assert json.loads((await shell.run("status", "--json")).stdout)["store"] == "keyring"
    await shell.log_in("--no-keyring")
    assert (
        f"kept in       {shell.folder / 'tokens.json'}, which only you can read\n" in (await shell.run("status")).stdout
    )


async def test_from_refresh_to_logout(shell: Shell, ring: Ring) -> None:
    """The keyring is asked for the key alone: what changes with every refresh is in the file."""
    shell.emulator.lifetime = 1
    await shell.log_in()
    before = ring.content
    await asyncio.sleep(1.1)
    assert (await shell.run("get", TEAMS)).returncode == 0
    assert (shell.emulator.sign_ins, shell.emulator.renewals) == (1, 1)
    assert (await shell.run("logout")).stdout == f"{OPS} is signed out at {shell.emulator.url}.\n"
    assert (await shell.run("token")).returncode == 3
    assert ring.content == before


async def test_programs_share_the_tokens_with_the_key(shell: Shell, ring: Ring) -> None:
    await shell.log_in()
    store = EncryptedStore(FileStore(shell.folder / "tokens.encrypted.json"), ring.key)
    async with TokenSession(store=store, account=OPS, base_url=shell.emulator.url) as session:
        assert (await session.token()).access_token == (await shell.run("token")).stdout.strip()


async def test_without_a_keyring_the_file_it_is(shell: Shell) -> None:
    """keyring's null backend is what those set who want none."""
    await shell.log_in(PYTHON_KEYRING_BACKEND=NO_KEYRING)
    await shell.log_in(PYTHON_KEYRING_BACKEND="no.such.module.Keyring")
    assert json.loads((await shell.run("status", "--json")).stdout)["store"] == "file"


async def test_keyring_that_refuses_at_login_leads_to_the_file_and_a_word(shell: Shell, ring: Ring) -> None:
    ring.content = '"locked"'
    typed = f"{OPS}\n{shell.emulator.password}\n"
    result = await shell.run("login", typed=typed)
    assert result.returncode == 0
    assert result.stderr == (
        "nexudus-async: the keyring cannot be used (KeyringLocked): the tokens go into a file that only you can read\n"
    )
    assert json.loads((await shell.run("status", "--json")).stdout)["store"] == "file"


@pytest.mark.parametrize(
    ("left", "env", "complaint"),
    [
        ('"locked"', {}, "the keyring cannot be used (KeyringLocked)"),
        ("{}", {}, "the key of the tokens is not in the keyring any more: sign in again"),
        ('{"nexudus-async/key of the stored tokens": "no key"}', {}, "is not in the keyring any more: sign in again"),
        (None, {"PYTHON_KEYRING_BACKEND": NO_KEYRING}, "the key of the tokens is in a keyring, and there is none here"),
        (
            json.dumps({"nexudus-async/key of the stored tokens": Fernet.generate_key().decode()}),
            {},
            "the key in the keyring does not open the tokens: sign in again",
        ),
    ],
    ids=["locked", "empty", "no key", "no keyring", "another key"],
)
async def test_key_that_cannot_be_had_later_is_one_line_and_mended_by_login(
    shell: Shell, ring: Ring, left: str | None, env: dict[str, str], complaint: str
) -> None:
    """It is never taken for being signed out: that would hide where the tokens are."""
    await shell.log_in()
    ring.content = ring.content if left is None else left
    for command in ("token", "status", "logout"):
        result = await shell.run(command, **env)
        assert (result.returncode, result.stdout) == (1, "")
        assert complaint in result.stderr
        assert "hunter2" not in result.stderr
    ring.content = ring.content if left != '"locked"' else "{}"
    await shell.log_in(**env)
    assert (await shell.run("get", TEAMS, **env)).returncode == 0


async def test_account_that_moves_leaves_no_living_token_behind(shell: Shell, ring: Ring) -> None:
    """From the file into the keyring and back: who shares the old place is signed out, as by `logout`."""
    await shell.log_in("--no-keyring")
    first = (await shell.run("token")).stdout.strip()
    await shell.log_in()
    assert first not in plain_text(shell.folder)
    assert not [secret for secret in shell.emulator.secrets if secret in plain_text(shell.folder)]
    await shell.log_in("--no-keyring")
    assert (await shell.run("get", TEAMS)).returncode == 0
    known = json.loads((await shell.run("status", "--json")).stdout)
    assert [(each["account"], each["store"]) for each in known["accounts"]] == [(OPS, "file")]


async def test_logins_at_once_make_one_key(shell: Shell, ring: Ring) -> None:
    """Two would make what the first encrypted unreadable."""
    names = [f"user{number}@example.com" for number in range(4)]
    for name in names:
        shell.emulator.add_user(name, "pw")
    await asyncio.gather(*(shell.log_in(username=name) for name in names))
    known = json.loads((await shell.run("status", "--json")).stdout)
    assert [each["signed_in"] for each in known["accounts"]] == [True] * 4


# -- in this process, with keyring's own way to set a backend ------------------------------------------------------


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "keyring.json"
    monkeypatch.setenv(FILE, str(path))
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)
    before = keyring.get_keyring()
    keyring.set_keyring(FileKeyring())
    yield path
    keyring.set_keyring(before)


class Forgetful(FileKeyring):
    """Takes everything and keeps nothing."""

    def set_password(self, service: str, username: str, password: str) -> None:
        pass


class Slow(FileKeyring):
    """Takes its time, so that others come meanwhile."""

    def get_password(self, service: str, username: str) -> str | None:
        found = super().get_password(service, username)
        time.sleep(0.1)
        return found


class Modest(FileKeyring):
    """One that keyring does not recommend, as the plain-text file of keyrings.alt."""

    priority = 0.5


def test_key_is_made_once(backend: Path, tmp_path: Path) -> None:
    made = keys.made_key(tmp_path / "state")
    assert made == keys.made_key(tmp_path / "state") == keys.known_key()
    Fernet(made)
    assert made not in repr(made)


def test_two_that_need_the_key_at_once_get_the_same(backend: Path, tmp_path: Path) -> None:
    """The second waits until the first has made it, however slow the keyring is."""
    keyring.set_keyring(Slow())
    with ThreadPoolExecutor() as threads:
        first, second = threads.map(keys.made_key, [tmp_path / "state"] * 2)
    assert first == second == keys.known_key()


@pytest.mark.parametrize("unusable", [null.Keyring, fail.Keyring, Modest])
def test_backend_that_is_none_is_not_used(backend: Path, unusable: Callable[[], KeyringBackend]) -> None:
    keyring.set_keyring(unusable())
    assert keys.backend_name() is None
    with pytest.raises(StoreError, match="there is none here"):
        keys.known_key()


def test_backend_that_a_person_chose_is_used(backend: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that keyring would not choose by itself."""
    keyring.set_keyring(Modest())
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "tests.cli.test_keyring.Modest")
    assert keys.backend_name() == "test keyring Modest"


def test_keyring_that_keeps_nothing_is_found_out_before_tokens_are_encrypted(backend: Path, tmp_path: Path) -> None:
    keyring.set_keyring(Forgetful())
    with pytest.raises(StoreError, match="does not keep what it is given"):
        keys.made_key(tmp_path / "state")


def test_errors_of_a_keyring_show_nothing_of_what_it_says(backend: Path, tmp_path: Path) -> None:
    """Neither its words nor its frames, which hold the key."""
    backend.write_text('"locked"')
    with pytest.raises(StoreError) as caught:
        keys.made_key(tmp_path / "state")
    shown = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in shown
    assert caught.value.__cause__ is caught.value.__context__ is None
