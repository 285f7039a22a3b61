"""Answers in any encoding: what cannot be read as UTF-8 is not malformed for that."""

import json
from typing import Any

import pytest

from nexudus_async import CredentialsRejectedError, MalformedResponseError, TokenEndpointError
from nexudus_async._oauth.failures import Fate, fate_of

from .grants import ACCESS, GOOD, REFRESH_GRANT, SIGN_IN, fail, parse

REFUSED: dict[str, Any] = {"error": "invalid_grant", "error_description": "Das Kennwort ist ungültig"}
SAID = "Das Kennwort ist ungültig"


def encoded(document: object, encoding: str) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode(encoding)


@pytest.mark.parametrize(
    ("encoding", "content_type", "said"),
    [
        ("iso-8859-1", "application/json; charset=iso-8859-1", SAID),
        ("iso-8859-1", "application/json;charset=ISO-8859-1", SAID),
        ("cp1252", 'application/json; charset="windows-1252"', SAID),
        ("iso-8859-1", "application/json; odata=x; Charset = 'latin1'", SAID),
        ("iso-8859-1", "application/json", "Das Kennwort ist ung\N{REPLACEMENT CHARACTER}ltig"),
        ("iso-8859-1", "application/json; charset=utf-8", "Das Kennwort ist ung\N{REPLACEMENT CHARACTER}ltig"),
        ("iso-8859-1", "", "Das Kennwort ist ung\N{REPLACEMENT CHARACTER}ltig"),
        ("iso-8859-1", "application/json; charset=nonsense", "Das Kennwort ist ung\N{REPLACEMENT CHARACTER}ltig"),
        ("iso-8859-1", "application/json; charset=idna", "Das Kennwort ist ung\N{REPLACEMENT CHARACTER}ltig"),
        ("iso-8859-1", "application/json; charset=hex", "Das Kennwort ist ung\N{REPLACEMENT CHARACTER}ltig"),
        ("utf-8", "application/json; charset=utf-8", SAID),
        ("utf-8-sig", "application/json", SAID),
        ("utf-8-sig", "application/json; charset=iso-8859-1", SAID),
        ("utf-16", "application/json", SAID),
        ("utf-16", "application/json; charset=utf-8", SAID),
        ("utf-16-le", "application/json; charset=utf-16le", SAID),
        ("utf-16-be", "application/json", SAID),
        ("utf-32", "application/json", SAID),
        ("utf-8", "application/json; charset=utf-16", SAID),
        ("ascii", "application/json; charset=unicode_escape", None),
    ],
)
def test_a_refusal_is_one_in_any_encoding(encoding: str, content_type: str, said: str | None) -> None:
    """Taken for malformed, it would get past the latch: the password would be sent again and again."""
    document = REFUSED if said else {"error": "invalid_grant"}
    error = fail(SIGN_IN, 400, raw=encoded(document, encoding), headers={"Content-Type": content_type})
    assert type(error) is CredentialsRejectedError
    assert error.description == said
    spent = fail(REFRESH_GRANT, 400, raw=encoded(document, encoding), headers={"Content-Type": content_type})
    assert (spent.error, spent.refresh_token_spent) == ("invalid_grant", True)


@pytest.mark.parametrize("encoding", ["iso-8859-1", "utf-16", "utf-8-sig", "utf-32-be"])
@pytest.mark.parametrize("content_type", ["", "application/json", "application/json; charset=iso-8859-1"])
def test_a_good_token_is_one_in_any_encoding(encoding: str, content_type: str) -> None:
    """Whatever else the service has to say beside it."""
    body = encoded(GOOD | {"fullName": "Zoë"}, encoding)
    assert parse(raw=body, headers={"Content-Type": content_type}).access_token == ACCESS


def test_a_line_break_within_words_breaks_nothing() -> None:
    """JSON forbids it; some services write it all the same."""
    body = json.dumps(GOOD | {"fullName": "two@lines"}).replace("@", "\n").encode()
    assert parse(raw=body).access_token == ACCESS


@pytest.mark.parametrize(
    "raw",
    [
        b'{"error": "invalid_grant", "error_description": "cut o',
        b'{"error": "invalid_grant", "error_description": "not "quoted" well"}',
        b'{"error": "invalid_grant", "error_description": "a \\x escape"}',
        b'{"error": "invalid_grant", "error_description": "two\nlines"}',
        b'{"error": "invalid_grant"} and more',
        b'[{"error": "invalid_grant"}]',
        '{"error": "invalid_grant", '.encode("utf-16"),
    ],
    ids=range(7),
)
def test_a_refusal_in_broken_json_is_one(raw: bytes) -> None:
    """Its code can be read, whatever is wrong with the rest."""
    error = fail(SIGN_IN, 400, raw=raw)
    assert type(error) is CredentialsRejectedError
    assert fate_of(error) is Fate.REFUSED


@pytest.mark.parametrize("raw", [b'{"error": "invalid_grant", ', json.dumps(GOOD).encode()[:-1]])
def test_broken_json_with_200_is_malformed(raw: bytes) -> None:
    """Half of a good answer may have any words in it."""
    error = fail(REFRESH_GRANT, 200, raw=raw)
    assert type(error) is MalformedResponseError
    assert fate_of(error) is Fate.LOST


def test_a_token_that_was_replaced_in_part_is_malformed() -> None:
    """A token is ASCII: what is not has been broken on the way."""
    with pytest.raises(MalformedResponseError, match="access_token has characters"):
        parse(raw=encoded(GOOD | {"access_token": "tokén"}, "iso-8859-1"))


@pytest.mark.parametrize("content_type", ["application/json; charset=idna", "application/json; charset=punycode"])
def test_no_encoding_takes_long(content_type: str) -> None:
    """Those for host names need quadratic time."""
    error = fail(SIGN_IN, 400, raw=b"a" * 1_000_000, headers={"Content-Type": content_type})
    assert isinstance(error, TokenEndpointError)
