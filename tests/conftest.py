"""What most tests stand on: a clock they move, a real server, and sessions that are closed for them."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from nexudus_async import Event, PasswordCredentials, TokenSession
from nexudus_async._credentials import Credentials
from nexudus_async.testing import ManualClock, NexudusEmulator
from tests.valkey import Valkey

CUSTOMER = "/api/public/billing/customer"


class OnUvloop:
    """A plugin of pytest: `--loop uvloop`."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_asyncio_loop_factories(self) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
        import uvloop

        return {"uvloop": uvloop.new_event_loop}


def pytest_configure(config: pytest.Config) -> None:
    """Take Ctrl-C again where whoever started the tests ignores it, as a shell does for what runs in its background.

    The processes that tests interrupt would inherit that.
    """
    if config.option.loop == "uvloop":
        config.pluginmanager.register(OnUvloop())
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    choices = ("asyncio", "uvloop")
    parser.addoption("--loop", choices=choices, default=choices[0], help="the event loop that async tests run on")
    group = parser.getgroup("simulation")
    group.addoption("--schedules", type=int, default=1_000, help="how many days the simulation plays")
    group.addoption("--seed", type=int, default=0, help="the seed of the first of them")


class Connect:
    """Makes sessions for the emulator's first user, on the test's clock."""

    def __init__(self, emulator: NexudusEmulator, clock: ManualClock, stack: AsyncExitStack) -> None:
        self.emulator, self.clock, self._stack = emulator, clock, stack
        self.events: list[Event] = []

    async def __call__(self, credentials: Credentials | None = None, **options: Any) -> TokenSession:
        credentials = credentials or PasswordCredentials(self.emulator.username, self.emulator.password)
        defaults: dict[str, Any] = {
            "base_url": self.emulator.url,
            "clock": self.clock,
            "on_event": self.events.append,
        }
        return await self._stack.enter_async_context(TokenSession(credentials, **(defaults | options)))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def emulator(clock: ManualClock) -> AsyncIterator[NexudusEmulator]:
    async with NexudusEmulator(clock=clock, lifetime=3600) as emulator:
        yield emulator


@pytest.fixture
async def connect(emulator: NexudusEmulator, clock: ManualClock) -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:
        yield Connect(emulator, clock, stack)


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until `condition` holds; for what happens after a real, but short, exchange on loopback."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for belongs to the code under test and has no event
            await asyncio.sleep(0.001)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A running Valkey server; whoever stops it starts it again."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()
