"""`--loop` of `tests/conftest.py`."""

import asyncio

import pytest


async def test_async_tests_run_on_the_loop_that_was_asked_for(pytestconfig: pytest.Config) -> None:
    loop = type(asyncio.get_running_loop())
    assert loop.__module__.partition(".")[0] == pytestconfig.option.loop
