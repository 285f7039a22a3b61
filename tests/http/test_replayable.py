"""Which request bodies can be sent a second time."""

import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from multidict import MultiDict

from nexudus_async._http.request import can_be_sent_again


async def chunks() -> AsyncIterator[bytes]:
    yield b"x"


def generator() -> Iterator[bytes]:
    yield b"x"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"data": None},
        {"data": ""},
        {"data": "text"},
        {"data": b"bytes"},
        {"data": {}},
        {"data": bytearray(b"bytes")},
        {"data": memoryview(b"bytes")},
        {"data": [("a", "b"), ("a", "c")]},
        {"data": MultiDict(a="b")},
        {"data": {"a": "text", "b": b"bytes", "c": 1, "d": 1.5}},
        {"json": {"a": [1, 2]}},
        {"json": None, "params": {"page": 1}, "headers": {}},
        {"upload_tracker": None},
    ],
)
def test_these_can(options: dict[str, Any]) -> None:
    """Nothing, text, bytes of any kind, forms of plain values, and `json=`."""
    assert can_be_sent_again(options)


@pytest.mark.parametrize(
    "data",
    [
        io.BytesIO(b"x"),
        io.StringIO("x"),
        generator(),
        chunks(),
        aiohttp.FormData({"a": "b"}),
        {"a": "text", "file": io.BytesIO(b"x")},
        {"a": None},
        [("a", io.BytesIO(b"b"))],
        [b"x"],
        iter([("a", "b")]),
        aiohttp.StreamReader.__new__(aiohttp.StreamReader),
        object(),
    ],
)
def test_these_cannot(data: object) -> None:
    """What the first sending may have used up: the default for everything unknown."""
    assert not can_be_sent_again({"data": data})


def test_nor_can_a_body_with_an_upload_tracker() -> None:
    """It belongs to one sending."""
    assert not can_be_sent_again({"data": b"x", "upload_tracker": object()})
