"""Text and bytes that do not show themselves."""

import copy
import dataclasses
import json
import pickle
import traceback

import pytest

from nexudus_async._token import Secret, SecretBytes

PLAIN = "hunter2 é"


@dataclasses.dataclass
class Holder:
    secret: object


@pytest.mark.parametrize("secret", [Secret(PLAIN), SecretBytes(PLAIN.encode())])
def test_no_repr_shows_it(secret: Secret | SecretBytes) -> None:
    """Neither its own nor that of anything that holds it."""
    shown = [repr(secret), f"{secret!a}", repr([secret]), repr({"k": (secret,)}), repr(Holder(secret))]
    shown += [repr(dataclasses.asdict(Holder(secret))), repr(KeyError(secret)), f"{[secret]}"]
    assert not any("hunter2" in text for text in shown), shown


def test_no_traceback_with_local_variables_shows_it() -> None:
    """As tools that report errors print them."""

    def fail(parameter: Secret) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError) as caught:
        fail(Secret(PLAIN))
    text = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "parameter = '***'" in text
    assert "hunter2" not in text


def test_it_is_the_value_where_it_is_sent() -> None:
    """Text and bytes in every other respect: equal, hashable, encodable."""
    secret = Secret(PLAIN)
    assert secret == PLAIN
    assert {PLAIN: 1}[secret] == 1
    assert json.loads(json.dumps([secret])) == [PLAIN]
    assert SecretBytes(PLAIN.encode()) == secret.encode()
    assert type(str(secret)) is str


@pytest.mark.parametrize("secret", [Secret(PLAIN), SecretBytes(b"x")])
def test_a_copy_is_the_object_itself(secret: Secret | SecretBytes) -> None:
    """So that no copy is an ordinary text."""
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("secret", [Secret(PLAIN), SecretBytes(b"x")])
def test_it_cannot_be_pickled(secret: Secret | SecretBytes, protocol: int) -> None:
    """Alone or within something: pickles are written to disks and queues."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps({"k": [secret]}, protocol)
