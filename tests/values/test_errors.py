"""The error tree: who catches what, and what copies and pickles keep."""

import copy
import pickle
from collections.abc import Callable

import aiohttp
import pytest

import nexudus_async
from nexudus_async import errors
from nexudus_async._token import Secret
from nexudus_async.errors import (
    NexudusAuthError,
    PasswordResetRequiredError,
    TokenEndpointError,
    as_auth_error,
    copy_of,
)

RESET = "reset-51fe-token"
Duplicate = Callable[[TokenEndpointError], TokenEndpointError]


def shallow(error: TokenEndpointError) -> TokenEndpointError:
    return copy.copy(error)


def through_a_pickle(error: TokenEndpointError) -> TokenEndpointError:
    twin: TokenEndpointError = pickle.loads(pickle.dumps(error))
    return twin


ALL = [getattr(errors, name) for name in errors.__all__]
OF_THE_ENDPOINT = [kind for kind in ALL if issubclass(kind, TokenEndpointError)]


@pytest.mark.parametrize("kind", ALL)
def test_code_that_handles_aiohttp_handles_these(kind: type[NexudusAuthError]) -> None:
    """Every error is a NexudusAuthError, which is an aiohttp.ClientError, and is exported."""
    assert issubclass(kind, NexudusAuthError)
    assert issubclass(kind, aiohttp.ClientError)
    assert getattr(nexudus_async, kind.__name__) is kind
    assert kind.__doc__


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (errors.ConfigurationError, NexudusAuthError),
        (errors.SessionClosedError, NexudusAuthError),
        (errors.StoreError, NexudusAuthError),
        (errors.LoginRequiredError, NexudusAuthError),
        (errors.TokenEndpointError, NexudusAuthError),
        (errors.CredentialsRejectedError, TokenEndpointError),
        (errors.TotpRequiredError, TokenEndpointError),
        (errors.PasswordResetRequiredError, TokenEndpointError),
        (errors.EndpointUnavailableError, TokenEndpointError),
        (errors.MalformedResponseError, TokenEndpointError),
        (errors.WrongHostError, TokenEndpointError),
    ],
)
def test_the_tree_is_the_one_that_is_drawn(kind: type[NexudusAuthError], parent: type[NexudusAuthError]) -> None:
    """The drawing at the head of `errors.py` names each under its parent."""
    assert kind.__bases__ == (parent,)
    drawn = (errors.__doc__ or "").splitlines()
    indent = {name: line.index(name) for line in drawn for name in errors.__all__ if f"── {name}" in line}
    assert indent[kind.__name__] > indent[parent.__name__]


@pytest.mark.parametrize("kind", OF_THE_ENDPOINT)
def test_only_what_may_pass_is_transient(kind: type[TokenEndpointError]) -> None:
    """Known of the class, so that a handler can decide by it."""
    assert kind.transient is (kind in (errors.EndpointUnavailableError, errors.MalformedResponseError))


@pytest.mark.parametrize("kind", [kind for kind in OF_THE_ENDPOINT if kind is not PasswordResetRequiredError])
@pytest.mark.parametrize("duplicate", [shallow, copy_of, through_a_pickle])
def test_a_duplicate_has_everything(kind: type[TokenEndpointError], duplicate: Duplicate) -> None:
    """Its text and every attribute, but it is another object."""
    error = kind(
        "words", status=400, error="invalid_grant", description="why", retry_after=7.0, refresh_token_spent=True
    )
    twin = duplicate(error)
    assert twin is not error
    assert type(twin) is kind
    assert (str(twin), vars(twin)) == ("words", vars(error))


def a_reset() -> PasswordResetRequiredError:
    return PasswordResetRequiredError("reset it", status=400, error="must_reset_password", reset_token=Secret(RESET))


def test_the_reset_token_is_shown_by_its_attribute_only() -> None:
    """A secret: not in str, repr, args, nor in a repr of the attributes."""
    error = a_reset()
    assert error.reset_token == RESET
    assert RESET not in str(error) + repr(error) + repr(error.args) + repr(vars(error)) + repr(error.reset_token)


@pytest.mark.parametrize("duplicate", [shallow, copy_of])
def test_a_copy_keeps_the_reset_token(duplicate: Duplicate) -> None:
    """Each of those who waited gets a copy, and needs it."""
    twin = duplicate(a_reset())
    assert isinstance(twin, PasswordResetRequiredError)
    assert (type(twin), str(twin), twin.status, twin.error) == (
        PasswordResetRequiredError, "reset it", 400, "must_reset_password"
    )  # fmt: skip
    assert twin.reset_token == RESET


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_leaves_the_reset_token_out(protocol: int) -> None:
    """Pickles are written to queues and disks; the rest of the error survives."""
    dumped = pickle.dumps(a_reset(), protocol)
    assert RESET.encode() not in dumped
    twin = pickle.loads(dumped)
    assert (type(twin), str(twin), twin.status, twin.reset_token) == (PasswordResetRequiredError, "reset it", 400, None)


class VaultError(NexudusAuthError):
    """A source's own error, made of other things than its text."""

    def __init__(self, vault: str, attempts: int) -> None:
        super().__init__(f"{vault} refused {attempts} times")
        self.vault = vault


@pytest.mark.parametrize("duplicate", [copy_of])
def test_an_error_of_a_foreign_source_can_be_copied(duplicate: Callable[[VaultError], VaultError]) -> None:
    """Whatever its `__init__` takes: those who wait for a refresh get it, not a TypeError about it."""
    error = VaultError("kv", 3)
    twin = duplicate(error)
    assert twin is not error
    assert (type(twin), str(twin), twin.vault) == (VaultError, "kv refused 3 times", "kv")


def test_a_deep_copy_never_fails() -> None:
    """Tools that report errors make them."""
    assert copy.deepcopy(a_reset()).status == 400


def test_a_foreign_error_is_wrapped_without_its_words() -> None:
    """They may hold a secret. The cause is attached."""
    cause = ValueError("password=hunter2")
    error = as_auth_error(cause, "the token source")
    assert type(error) is NexudusAuthError
    assert str(error) == "the token source raised ValueError"
    assert error.__cause__ is cause


def test_an_error_of_ours_is_not_wrapped() -> None:
    """It says more by itself."""
    error = a_reset()
    assert as_auth_error(error, "anyone") is error
