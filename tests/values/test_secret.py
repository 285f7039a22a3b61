"""Text and bytes that do not show themselves."""

import copy
import dataclasses
import json
import operator
import pickle
import re
import traceback
from collections.abc import Callable
from typing import cast

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


LONG = "AbC dEf\tGhI\n" * 20
TEXT_OPERATIONS: dict[str, Callable[[str], object]] = {
    "slice": lambda s: s[:80],
    "slice of all": lambda s: s[:],
    "index": lambda s: s[3],
    "iteration": list,
    "unpacking": lambda s: [*s],
    "reversed": lambda s: list(reversed(s)),
    "plus": lambda s: s + "x",
    "plus behind": lambda s: "Bearer " + s,
    "plus both": lambda s: s + s,
    "times": lambda s: s * 2,
    "times before": lambda s: 2 * s,
    "percent": lambda s: (s + "%s") % 7,
    "percent of": lambda s: "%s" % s,  # noqa: UP031 - this is it
    "join": lambda s: s.join("ab"),
    "format": lambda s: s.format(1),
    "format_map": lambda s: s.format_map({}),
    "getnewargs": lambda s: s.__getnewargs__(),
    "encode": lambda s: s.encode(),
    "encoded, a piece": lambda s: s.encode("latin-1")[:80],
    "encoded and decoded": lambda s: s.encode()[2:].decode(),
}
TEXT_METHODS: dict[str, tuple[object, ...]] = {
    "capitalize": (), "casefold": (), "center": (500,), "expandtabs": (), "ljust": (500,), "lower": (), "lstrip": (),
    "partition": ("d",), "removeprefix": ("A",), "removesuffix": ("\n",), "replace": ("d", "D"), "rjust": (500,),
    "rpartition": ("d",), "rsplit": ("d", 1), "rstrip": (), "split": ("d", 1), "splitlines": (), "strip": (),
    "swapcase": (), "title": (), "translate": ({65: "x"},), "upper": (), "zfill": (500,),
}  # fmt: skip
"""Methods of text and of bytes; for bytes their arguments are encoded."""
NO_TEXT = {
    "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier",
    "islower", "isnumeric", "isprintable", "isspace", "istitle", "isupper", "rfind", "rindex", "startswith",
}  # fmt: skip
"""What gives a number or a yes or no."""
OF_THE_CLASS = {"maketrans", "fromhex"}


def as_bytes(value: object) -> object:
    if isinstance(value, dict):
        return bytes.maketrans(b"A", b"x")
    return value.encode() if isinstance(value, str) else value


def shows(value: object) -> list[str]:
    """Return the texts in which pieces of `LONG` would be seen: of the value, and of what is in it."""
    everything = [value]
    if isinstance(value, list | tuple):
        everything += cast("list[object]", value)
    shown = [re.sub("0x[0-9a-f]+", "", repr(each)) for each in everything]  # an address may have an "abc" in it
    return [text for text in shown if re.search(r"(?i)abc|def|ghi|^'.'$|41 ?62", text)]


@pytest.mark.parametrize("operation", TEXT_OPERATIONS.values(), ids=TEXT_OPERATIONS)
def test_no_piece_of_it_shows_itself(operation: Callable[[str], object]) -> None:
    """Rich, structlog and others print the first 80 characters of a long text."""
    plain, secret = operation(LONG), operation(Secret(LONG))
    assert shows(plain) or plain == LONG[3]  # or this test would prove nothing
    assert secret == plain
    assert not shows(secret)


@pytest.mark.parametrize("name", TEXT_METHODS)
def test_no_changed_copy_shows_itself(name: str) -> None:
    """Of text, and of bytes where they have the method."""
    result = getattr(Secret(LONG), name)(*TEXT_METHODS[name])
    assert result == getattr(LONG, name)(*TEXT_METHODS[name])
    assert not shows(result)
    if hasattr(bytes, name):
        arguments = [as_bytes(value) for value in TEXT_METHODS[name]]
        of_bytes = getattr(SecretBytes(LONG.encode()), name)(*arguments)
        assert of_bytes == getattr(LONG.encode(), name)(*arguments)
        assert not shows(of_bytes)


BYTES_OPERATIONS: dict[str, Callable[[bytes], object]] = {
    "slice": lambda b: b[:80],
    "plus": lambda b: b + b"x",
    "plus behind": lambda b: b"x" + b,
    "plus a bytearray": lambda b: bytearray(b"x") + b,
    "times": lambda b: b * 2,
    "times before": lambda b: 2 * b,
    "percent": lambda b: (b + b"%d") % 7,
    "percent of": lambda b: b"%s" % b,
    "join": lambda b: b.join([b"a", b"b"]),
    "decode": lambda b: b.decode(),
    "decoded, a piece": lambda b: b.decode("latin-1")[:80],
    "hex": lambda b: b.hex(" "),
    "getnewargs": lambda b: b.__getnewargs__(),
    "memoryview": lambda b: memoryview(b)[:80],
}


@pytest.mark.parametrize("operation", BYTES_OPERATIONS.values(), ids=BYTES_OPERATIONS)
def test_no_piece_of_bytes_shows_itself(operation: Callable[[bytes], object]) -> None:
    """As aiohttp's `chunk[:length]` of a form."""
    plain, secret = operation(LONG.encode()), operation(SecretBytes(LONG.encode()))
    assert secret == plain
    assert not shows(secret)


@pytest.mark.parametrize("kind", [str, bytes])
def test_every_method_of_this_python_is_thought_of(kind: type) -> None:
    """A method that a later Python adds, and that gives text, must be hidden too."""
    names = {name for name in dir(kind) if not name.startswith("_")}
    known = set(TEXT_METHODS) | NO_TEXT | OF_THE_CLASS | {"encode", "decode", "format", "format_map", "hex", "join"}
    assert names <= known


def test_what_builds_the_bytes_of_the_wire_is_plain() -> None:
    """As aiohttp writes a header, and as whoever asks for the value by name gets it."""
    secret, form = Secret("tok-en"), SecretBytes(b"form")
    plain = [f"{secret}", f"{secret:>9}", "".join([secret]), str(secret), format(secret), "{}".format(secret)]  # noqa: UP032
    assert {type(text) for text in plain} == {str}
    assert [type(value) for value in (b"".join([form]), bytes(form), bytearray(form))] == [bytes, bytes, bytearray]
    assert type(json.dumps(secret)) is str


@pytest.mark.parametrize(
    ("operation", "values"),
    [
        (operator.add, (1, Secret("x"))),
        (operator.add, (Secret("x"), 1)),
        (operator.add, (b"x", Secret("x"))),
        (operator.add, ("x", SecretBytes(b"x"))),
        (operator.add, (["x"], Secret("x"))),
        (operator.mul, (Secret("x"), "y")),
        (operator.getitem, (Secret("x"), "y")),
    ],
)
def test_what_text_cannot_do_it_cannot_either(operation: Callable[..., object], values: tuple[object, ...]) -> None:
    """The same TypeError."""
    with pytest.raises(TypeError):
        operation(*values)
