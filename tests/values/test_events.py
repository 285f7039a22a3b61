"""Events and listeners."""

import asyncio
import dataclasses
import functools
import inspect
import logging
import re
import subprocess
import sys

import pytest

import nexudus_async
from nexudus_async import ConfigurationError, Event, RefreshFailed, StoreFailed, TokenObtained, TokenRejected
from nexudus_async._events import Emitter, check_listener, deliver
from nexudus_async.errors import StoreError
from nexudus_async.testing import ManualClock

REJECTED = TokenRejected(generation=3, renewal=True)


def ignore(event: Event) -> None:
    """A listener."""


async def ignore_later(event: Event) -> None:
    """No listener: nobody would await it."""


SEEN: list[Event] = []
ALL = [
    kind
    for _, kind in inspect.getmembers(nexudus_async, inspect.isclass)
    if issubclass(kind, Event) and kind is not Event
]


@pytest.mark.parametrize("kind", ALL)
def test_events_are_frozen_and_in_the_past_tense(kind: type[Event]) -> None:
    """Data about what happened, that nobody can change."""
    assert dataclasses.is_dataclass(kind)
    assert vars(kind)["__dataclass_params__"].frozen
    assert re.search(r"(ed|Lost)$", kind.__name__)
    assert kind.__doc__


@pytest.mark.parametrize("kind", ALL)
def test_no_event_has_a_field_for_a_secret(kind: type[Event]) -> None:
    """A token goes by its generation."""
    names = {field.name for field in dataclasses.fields(kind)}
    assert not {name for name in names if re.search("token|password|totp|code|secret|headers|authorization", name)}


def test_events_are_equal_by_value() -> None:
    """So that a test can compare them."""
    assert TokenRejected(generation=3, renewal=True) == REJECTED
    obtained = TokenObtained(
        grant="password", reason="empty", generation=1, lifetime=9.0, client_id=None, duration=0.1, waiters=2
    )
    assert obtained.waiters == 2
    failed = RefreshFailed(
        error=ConfigurationError("x"), reason="empty", duration=0.1, failures=1, retry_in=30.0, served=True
    )
    assert "ConfigurationError('x')" in repr(failed)


@pytest.mark.parametrize("listener", [None, ignore, functools.partial(ignore), SEEN.append])
def test_a_function_of_one_event_is_a_listener(listener: object) -> None:
    """So is none at all."""
    check_listener(listener)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("listener", [7, "listener", object()])
def test_what_cannot_be_called_is_refused(listener: object) -> None:
    """At once, not at the first event."""
    with pytest.raises(ConfigurationError, match=f"on_event must be a function .* not {type(listener).__name__}"):
        check_listener(listener)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


class Later:
    async def __call__(self, event: Event) -> None:
        """No listener either."""


@pytest.mark.parametrize("listener", [ignore_later, functools.partial(ignore_later), Later()])
def test_a_coroutine_function_is_refused(listener: object) -> None:
    """Nobody would await it; the message says what to do instead."""
    with pytest.raises(ConfigurationError, match="on_event must be a plain function; start a task"):
        check_listener(listener)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_listener_gets_the_event() -> None:
    """As it was made."""
    seen: list[Event] = []
    deliver(seen.append, REJECTED)
    assert seen == [REJECTED]


def test_what_a_listener_raises_goes_no_further(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged by its type: its words are not ours to vouch for."""

    def broken(event: Event) -> None:
        raise ValueError("password=hunter2")

    with caplog.at_level(logging.DEBUG):
        deliver(broken, REJECTED)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("ERROR", "the listener raised ValueError on TokenRejected")
    ]
    assert "hunter2" not in caplog.text


def test_a_listener_that_always_raises_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The first time is told, then ever more rarely, with a count; of each kind."""
    clock = ManualClock()

    def broken(event: Event) -> None:
        raise ValueError

    emitter = Emitter(broken, "Anna", clock)
    for _ in range(1000):
        emitter.emit(lambda: REJECTED)
        clock.advance(1)
    emitter.emit(lambda: StoreFailed(operation="load", error=StoreError("down")))
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "Anna: the listener raised ValueError on TokenRejected",
        *(
            f"Anna: the listener raised ValueError on TokenRejected ({count} more since the last such line)"
            for count in (29, 59, 119, 239, 479)
        ),
        "Anna: the listener raised ValueError on StoreFailed",
    ]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_listener_can_still_end_the_program(kind: type[BaseException]) -> None:
    """But not in the middle of what told it: that goes on first."""
    went_on = False

    def end(event: Event) -> None:
        raise kind

    async def refresh() -> None:
        nonlocal went_on
        deliver(end, REJECTED)
        went_on = True
        await asyncio.Event().wait()

    with pytest.raises(kind):
        asyncio.run(refresh())
    assert went_on


def test_a_listener_that_raises_what_is_no_exception_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Its own way to leave, say: nobody else is to leave with it."""

    class Leave(BaseException):
        pass

    def leave(event: Event) -> None:
        raise Leave

    deliver(leave, REJECTED)
    assert "the listener raised Leave" in caplog.text


@pytest.mark.parametrize(("configured", "said"), [("", ""), ("logging.basicConfig(); ", "WARNING:nexudus_async:no\n")])
def test_the_package_says_nothing_to_a_program_without_logging(configured: str, said: str) -> None:
    """And everything to one that has it."""
    program = f"import logging, nexudus_async; {configured}logging.getLogger('nexudus_async').warning('no')"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert (run.stdout, run.stderr) == ("", said)
