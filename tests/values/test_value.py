"""What the public values share is what `dataclass` would have generated for each of them."""

from dataclasses import dataclass, field

from nexudus_async._oauth.messages import Answer
from nexudus_async._token import SecretBytes
from nexudus_async._value import Value


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Ours(Value):
    shown: int
    hidden: str = field(default="", repr=False)
    apart: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Generated:
    shown: int
    hidden: str = field(default="", repr=False)
    apart: float = field(default=0.0, compare=False)


ARGUMENTS = [(1, "a", 0.5), (1, "a", 1.5), (1, "b", 0.5), (2, "a", 0.5)]


def test_it_is_shown_as_a_generated_one() -> None:
    """A field that is not to be shown is not."""
    for arguments in ARGUMENTS:
        assert repr(Ours(*arguments)) == repr(Generated(*arguments)).replace("Generated", "Ours")


def test_it_is_compared_as_a_generated_one() -> None:
    """By the fields that count, and to its own kind only."""
    for one in ARGUMENTS:
        assert Ours(*one) != Generated(*one)
        for other in ARGUMENTS:
            assert (Ours(*one) == Ours(*other)) is (Generated(*one) == Generated(*other))
            assert hash(Ours(*one)) == hash(Generated(*one))


def test_an_answer_shows_neither_headers_nor_body() -> None:
    """A cookie may be among them."""
    answer = Answer(200, {"Set-Cookie": "made-up-cookie"}, SecretBytes(b"made-up-body"), 0.0, 1.0, "example.com")
    assert "made-up" not in f"{answer!r} {answer}"
