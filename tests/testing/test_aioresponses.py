"""The bridge between aioresponses and the installed aiohttp."""

import inspect
import sys
from unittest import mock

import aiohttp
import pytest
from aioresponses import aioresponses

from nexudus_async.testing import AioresponsesResponse

BRIDGE = AioresponsesResponse.__module__
URL = "https://spaces.nexudus.com/api/public/billing/customer"


async def test_a_mocked_answer_is_an_answer() -> None:
    """Status, JSON, headers and release."""
    with aioresponses() as mocked:
        mocked.get(  # pyright: ignore[reportUnknownMemberType]  its hints are partial
            URL, payload={"Id": 1}, headers={"X-Own": "1"}, response_class=AioresponsesResponse
        )
        async with aiohttp.ClientSession() as session, session.get(URL) as response:
            assert (response.status, await response.json(), response.headers["X-Own"]) == (200, {"Id": 1}, "1")


async def test_raise_for_status_works_on_it() -> None:
    """With the error that aiohttp raises."""
    with aioresponses() as mocked:
        mocked.get(  # pyright: ignore[reportUnknownMemberType]  its hints are partial
            URL, status=503, response_class=AioresponsesResponse
        )
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            with pytest.raises(aiohttp.ClientResponseError, match="503"):
                await session.get(URL)


@pytest.mark.parametrize("wanted", [True, False])
def test_the_argument_is_passed_where_it_exists(monkeypatch: pytest.MonkeyPatch, wanted: bool) -> None:
    """aiohttp before 3.14 refuses it."""
    monkeypatch.setattr(f"{BRIDGE}._WANTS_STREAM_WRITER", wanted)
    with mock.patch.object(aiohttp.ClientResponse, "__init__", return_value=None) as init:
        AioresponsesResponse("GET", URL, writer=None)
    assert ("stream_writer" in init.call_args.kwargs) is wanted


def test_the_signature_decides() -> None:
    """Not a version number."""
    parameters = inspect.signature(aiohttp.ClientResponse.__init__).parameters
    assert vars(sys.modules[BRIDGE])["_WANTS_STREAM_WRITER"] == ("stream_writer" in parameters)
