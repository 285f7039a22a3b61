"""The tools that the secrecy tests look through do show what is there: or their silence would prove nothing."""

import json

import pytest

from nexudus_async._token import Secret

from .renderers import PIECE, RENDERERS, leaks

PLAIN = "Pa55-" + "w0rd-" * 40


def parse_a_broken(secret: str) -> BaseException:
    """Return an error whose frames, those of a library, hold a secret."""
    try:
        json.loads(secret)
    except ValueError as error:
        return error
    raise AssertionError


def test_every_tool_shows_a_plain_text() -> None:
    """In the frames of `json`, and whoever cuts it shows its beginning."""
    shown = leaks(parse_a_broken(PLAIN), [PLAIN])
    assert {line.partition(":")[0] for line in shown} >= set(RENDERERS)


def test_no_tool_shows_a_secret() -> None:
    """However long it is."""
    assert leaks(parse_a_broken(Secret(PLAIN)), [PLAIN]) == []


@pytest.mark.parametrize("tool", RENDERERS)
def test_a_piece_of_it_is_found(tool: str) -> None:
    """Whoever cuts it shows its beginning."""
    assert f"{tool}: {PLAIN[:PIECE]}" in leaks(parse_a_broken(PLAIN), [PLAIN])
