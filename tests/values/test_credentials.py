"""Who signs in, and where password and code come from."""

import asyncio
import copy
import pickle
import re
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest

from nexudus_async import ConfigurationError, NexudusAuthError, PasswordCredentials, totp_from_secret
from nexudus_async._token import Secret
from nexudus_async.errors import chain_of
from nexudus_async.testing import ManualClock, totp_code
from tests.leaks import printed

USER, PASSWORD, CODE = "ops@example.com", "a&b=c+d %é", "123456"
PLAIN = "correct-horse"
KEY = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # RFC 6238, appendix B: "12345678901234567890"


async def later(value: object) -> object:
    await asyncio.sleep(0)
    return value


def as_it_is(value: object) -> object:
    return value


class Vault:
    """A source with a call of its own, that counts."""

    def __init__(self, *values: object) -> None:
        self.values = list(values)

    def __call__(self) -> Any:
        return self.values.pop(0)


SOURCES: dict[str, Callable[[object], Any]] = {
    "a callable": lambda value: lambda: value,
    "a coroutine function": lambda value: lambda: later(value),
    "a callable object": Vault,
}


async def test_text_is_handed_over_as_it_is() -> None:
    """Nothing stripped, nothing changed; a Secret."""
    credentials = PasswordCredentials(USER, PASSWORD, CODE)
    password, code = await credentials.fetch_password(), await credentials.fetch_totp()
    assert (password, code) == (PASSWORD, CODE)
    assert type(password) is type(code) is Secret


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
async def test_a_callable_is_asked(source: Callable[[object], Any]) -> None:
    """Plain or asynchronous, for the password and for the code."""
    credentials = PasswordCredentials(USER, source(PASSWORD), source(CODE))
    password, code = await credentials.fetch_password(), await credentials.fetch_totp()
    assert (password, code) == (PASSWORD, CODE)
    assert type(password) is type(code) is Secret


async def test_a_callable_is_asked_anew_each_time_and_not_before() -> None:
    """A code is never an old one, and a password in a vault is never kept."""
    credentials = PasswordCredentials(USER, Vault("one", "two"), Vault("111111", "222222"))
    assert [await credentials.fetch_password() for _ in range(2)] == ["one", "two"]
    assert [await credentials.fetch_totp() for _ in range(2)] == ["111111", "222222"]


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("123 456", "123456"),
        (" 123-456\r\n", "123456"),
        ("123\N{NO-BREAK SPACE}456", "123456"),
        ("123\N{EN DASH}456\N{ZERO WIDTH SPACE}", "123456"),
        ("ABCD-EFGH", "ABCD-EFGH"),
        ("123 45x", "123 45x"),
        ("\N{FULLWIDTH DIGIT ONE} 2", "\N{FULLWIDTH DIGIT ONE} 2"),
    ],
)
@pytest.mark.parametrize("source", [as_it_is, *SOURCES.values()], ids=["text", *SOURCES])
async def test_a_code_of_digits_is_cleaned_as_the_key_is(
    source: Callable[[object], Any], written: str, code: str
) -> None:
    """As a person types it, or an app shows it. Any other code is left alone, as is a password."""
    credentials = PasswordCredentials(USER, source(written), source(written))
    assert await credentials.fetch_totp() == code
    assert await credentials.fetch_password() == written


def test_a_callable_shows_nothing_of_what_it_was_given() -> None:
    """A `functools.partial` does; and it is still the same for whoever compares credentials."""
    bound = partial(str, PASSWORD)
    credentials = PasswordCredentials(USER, bound, bound)
    assert PASSWORD not in repr(credentials.password) + repr(credentials.totp)
    assert credentials == PasswordCredentials(USER, bound, bound)
    assert hash(credentials) == hash(PasswordCredentials(USER, credentials.password, credentials.totp))
    assert credentials != PasswordCredentials(USER, str, bound)


async def test_without_two_factor_there_is_no_code() -> None:
    """None, and not an empty one."""
    assert await PasswordCredentials(USER, PASSWORD).fetch_totp() is None


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("", PASSWORD), "username"),
        ((" ", PASSWORD), "username"),
        ((None, PASSWORD), "username"),
        ((b"ops", PASSWORD), "username"),
        ((USER, ""), "password must be a non-empty str or a callable, not an empty str"),
        ((USER, None), "password .* not NoneType"),
        ((USER, b"secret"), "password .* not bytes"),
        ((USER, 5), "password .* not int"),
        ((USER, PASSWORD, ""), "totp .* not an empty str"),
        ((USER, PASSWORD, " \n"), "totp .* not an empty str"),
        ((USER, PASSWORD, 123456), "totp .* not int"),
    ],
)
def test_bad_input_is_refused_by_name(arguments: tuple[Any, ...], names: str) -> None:
    """At once, saying which value and what it should be."""
    with pytest.raises(ConfigurationError, match=names) as caught:
        PasswordCredentials(*arguments)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("field", ["password", "totp"])
@pytest.mark.parametrize("value", ["", None, 123456, b"secret"])
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
async def test_a_callable_that_returns_something_else_is_a_configuration_error(
    field: str, value: object, source: Callable[[object], Any]
) -> None:
    """It says which callable and what it returned, by type."""
    credentials = PasswordCredentials(USER, **{"password": "x", field: source(value)})
    fetch = credentials.fetch_password if field == "password" else credentials.fetch_totp
    with pytest.raises(ConfigurationError, match=f"the {field} callable must return a non-empty str, not"):
        await fetch()


async def test_what_a_callable_raises_is_the_cause() -> None:
    """The message repeats none of its words."""

    def broken() -> str:
        raise LookupError("s3cr3t")

    with pytest.raises(ConfigurationError, match=r"^the password callable raised LookupError$") as caught:
        await PasswordCredentials(USER, broken).fetch_password()
    cause = caught.value.__cause__
    assert isinstance(cause, LookupError)
    assert cause.__traceback__ is None  # its frames may hold the password; the place is left
    assert re.fullmatch(r"raised in test_credentials\.py, line \d+", cause.__notes__[0])


@pytest.mark.parametrize("value", ["x", None])
async def test_an_error_that_is_being_handled_keeps_its_frames(value: str | None) -> None:
    """It is the caller's own."""

    def broken() -> str:
        raise LookupError

    errors: list[BaseException] = []
    try:
        int(cast("str", value))
    except (TypeError, ValueError) as mine:
        errors.append(mine)
        with pytest.raises(ConfigurationError) as caught:
            await PasswordCredentials(USER, broken).fetch_password()
        errors.append(caught.value)
    assert errors[0] in chain_of(errors[1])
    assert errors[0].__traceback__ is not None


async def test_an_error_of_this_package_comes_out_as_it_is() -> None:
    """A callable may know better."""
    error = NexudusAuthError("the vault is sealed")

    def sealed() -> str:
        raise error

    with pytest.raises(NexudusAuthError) as caught:
        await PasswordCredentials(USER, sealed).fetch_password()
    assert caught.value is error


async def test_cancelling_reaches_the_callable() -> None:
    """A vault that hangs is given up."""

    async def never() -> str:
        await asyncio.get_running_loop().create_future()
        return "never"

    task = asyncio.create_task(PasswordCredentials(USER, never).fetch_password())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_nothing_shows_them() -> None:
    """Neither repr nor a dataclass's helpers."""
    credentials = PasswordCredentials(USER, PASSWORD, CODE)
    assert repr(credentials) == f"PasswordCredentials(username={USER!r})"
    for text in (str(credentials), repr(vars(type(credentials)))):
        assert PASSWORD not in text
        assert CODE not in text


def test_they_cannot_be_pickled() -> None:
    """A pickle is a file with a password; the message says what to do."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match=r"from_env\(\)"):
            pickle.dumps(PasswordCredentials(USER, PASSWORD), protocol)
    with pytest.raises(TypeError):
        copy.copy(PasswordCredentials(USER, PASSWORD))


async def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three variables; the third makes codes."""
    monkeypatch.setenv("NEXUDUS_USERNAME", USER)
    monkeypatch.setenv("NEXUDUS_PASSWORD", PASSWORD)
    monkeypatch.delenv("NEXUDUS_TOTP_SECRET", raising=False)
    credentials = PasswordCredentials.from_env()
    assert (credentials.username, credentials.totp) == (USER, None)
    assert await credentials.fetch_password() == PASSWORD
    monkeypatch.setenv("NEXUDUS_TOTP_SECRET", KEY)
    code = await PasswordCredentials.from_env().fetch_totp()
    assert code is not None
    assert len(code) == 6


@pytest.mark.parametrize("name", ["NEXUDUS_USERNAME", "NEXUDUS_PASSWORD"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str | None) -> None:
    """Missing or empty."""
    monkeypatch.setenv("NEXUDUS_USERNAME", USER)
    monkeypatch.setenv("NEXUDUS_PASSWORD", PASSWORD)
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=rf"set the environment variable {name}$") as caught:
        PasswordCredentials.from_env()
    assert PASSWORD not in printed(caught.value)


@pytest.mark.parametrize(
    ("wall", "code"),
    [
        (59.0, "287082"),
        (1_111_111_109.0, "081804"),
        (1_111_111_111.0, "050471"),
        (1_234_567_890.0, "005924"),
        (2_000_000_000.0, "279037"),
        (20_000_000_000.0, "353130"),
    ],
)
def test_codes_are_those_of_the_rfc(wall: float, code: str) -> None:
    """RFC 6238, appendix B, SHA-1, the last six digits."""
    assert totp_from_secret(KEY, clock=ManualClock(wall))() == code


@pytest.mark.parametrize(("wall", "step"), [(29.999, 0.0), (30.0, 30.0), (59.999, 30.0), (60.0, 60.0)])
def test_a_code_changes_every_thirty_seconds(wall: float, step: float) -> None:
    """RFC 6238, section 4.1; and it is the one that another implementation makes."""
    assert totp_from_secret(KEY, clock=ManualClock(wall))() == totp_code(KEY, step)


@pytest.mark.parametrize("written", [KEY.lower(), "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ", f"{KEY[:16]}-{KEY[16:]}"])
def test_a_key_may_be_written_as_it_was_shown(written: str) -> None:
    """In groups, in lower case."""
    assert totp_from_secret(written, clock=ManualClock(59.0))() == "287082"


@pytest.mark.parametrize("key", ["0189-not-base32", "GEZDGNB!", "é", "AAAAAAAAA1", "", " ", None])
def test_a_key_that_is_none_is_refused_at_once(key: Any) -> None:
    """Not at the first sign-in, and without repeating it."""
    with pytest.raises(ConfigurationError, match="base32") as caught:
        totp_from_secret(key)
    assert not key or not key.strip() or key not in printed(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PasswordCredentials("", PLAIN, CODE),
        lambda: PasswordCredentials(USER, PLAIN, cast("str", CODE.encode())),
        lambda: PasswordCredentials(USER, PLAIN, cast("str", int(CODE))),
        lambda: PasswordCredentials(USER, cast("str", PLAIN.encode()), CODE),
        lambda: totp_from_secret(f"{KEY}!"),
    ],
)
def test_no_error_holds_what_was_right(make: Callable[[], object]) -> None:
    """Tools that report errors show the local variables of every frame: the one that refuses must show no secret."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    text = printed(caught.value)
    assert not any(secret in text for secret in (PLAIN, CODE, KEY)), text


@pytest.mark.parametrize("value", [PLAIN.encode(), [PLAIN]])
async def test_no_error_holds_what_a_callable_returned(value: object) -> None:
    """Of the wrong type, but a secret all the same."""
    with pytest.raises(ConfigurationError) as caught:
        await PasswordCredentials(USER, cast("Callable[[], str]", lambda: value)).fetch_password()
    assert PLAIN not in printed(caught.value)
