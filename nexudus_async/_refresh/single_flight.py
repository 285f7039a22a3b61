"""Single flight: one task that many callers wait for, and that none of them can harm.

What holds:

- The task belongs to whoever made the flight, not to the caller who happened to start it. It runs in an empty
  context, so that no caller's variables, spans or deadlines reach into it.
- Each waiter has a future of its own, which carries nothing and only wakes it; the outcome is read from the flight.
  So cancelling a waiter touches one future, cancelling all of them leaves the task running, and either costs the same
  however many others wait (`asyncio.shield` searches a list for each).
- The outcome may come before the end of the task: `succeed` wakes everyone while the task goes on to save the result.
- Each waiter is given its own copy of an error, raised from the shared one: a traceback grows where it is raised.
- A task that is cancelled from outside fails its waiters with `SessionClosedError`: their own tasks were not cancelled,
  and a `CancelledError` would say they were.

Nothing here knows what the task is for.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar, cast

from nexudus_async.errors import NexudusAuthError, SessionClosedError, as_auth_error, cause_of, copy_of

T = TypeVar("T")


class Flight(Generic[T]):
    """One run of `work`, shared. `work` is given the flight, and ends by calling `succeed` or by raising.

    after: a flight that must have ended, its save included, before this one does anything.
    """

    def __init__(
        self, work: Callable[["Flight[T]"], Coroutine[Any, Any, None]], after: "Flight[T] | None" = None
    ) -> None:
        self._work = work
        self._after = None if after is None or after.ended else after
        self._waiters: dict[asyncio.Future[None], None] = {}  # in order: first come, first served
        self._future: Callable[[], asyncio.Future[None]]
        self._task: asyncio.Task[None] | None = None
        self._value: T | None = None
        self._error: NexudusAuthError | None = None
        self.landed = False
        """Whether there is an outcome. Whoever comes later needs another flight."""

    @property
    def waiting(self) -> int:
        """How many calls wait for the outcome."""
        return len(self._waiters)

    @property
    def ended(self) -> bool:
        """Whether the task is over, with everything it had to do after the outcome, and the flight before it, too."""
        return self._task is not None and self._task.done() and (self._after is None or self._after.ended)

    def start(self) -> None:
        """Start the task on the running loop.

        Apart from `__init__`, so that the owner can keep the flight before it runs: a loop with an eager task factory
        runs the first part of the work, or all of it, inside this call.
        """
        loop = asyncio.get_running_loop()
        self._future = loop.create_future  # kept, or each of thousands of waiters would have to ask for the loop
        work = self._run()
        try:
            self._task = loop.create_task(work, context=contextvars.Context(), name="nexudus_async refresh")
        except BaseException:
            work.close()
            raise
        self._task.add_done_callback(self._on_end)  # not the end of `work`: a task cancelled at once never enters it

    async def wait(self) -> T:
        """Return the outcome, or raise a copy of its error. Cancelling ends this wait and nothing else."""
        if not self.landed:
            future = self._future()
            self._waiters[future] = None
            try:
                await future
            except BaseException:  # cancelled; an outcome has let go of all who wait
                self._waiters.pop(future, None)
                raise
        if self._error is not None:
            raise copy_of(self._error) from cause_of(self._error)
        return cast(T, self._value)  # landed without an error

    def succeed(self, value: T) -> None:
        """Give the outcome and wake everyone. The first outcome stays."""
        if not self.landed:
            self._value = value
            self._land()

    def fail(self, error: NexudusAuthError) -> None:
        """Give an error as the outcome and wake everyone. The first outcome stays."""
        if not self.landed:
            self._error = error
            self._land()

    def cancel(self) -> None:
        """Cancel the task, and the one it comes after. Waiters without an outcome get `SessionClosedError`."""
        if self._after is not None:
            self._after.cancel()
        if self._task is not None:
            self._task.cancel()

    async def until_ended(self) -> None:
        """Wait until the task is over, and the one it comes after. Cancelling this leaves both alone."""
        while (after := self._after) is not None and not after.ended:  # cut off, a task may end before the one before
            await after.until_ended()
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        if self._after is not None:
            await self._after.until_ended()
            self._after = None  # let go of the flights before
        await self._work(self)

    def _land(self) -> None:
        self.landed = True
        waiters, self._waiters = self._waiters, {}
        for future in waiters:
            if not future.done():  # its waiter was cancelled and has not run yet
                future.set_result(None)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self.fail(SessionClosedError("the refresh was cancelled from outside, as when an event loop shuts down"))
        elif (error := task.exception()) is not None:
            self.fail(as_auth_error(error, "the refresh"))
        else:
            self.fail(NexudusAuthError("the refresh ended without an outcome"))
