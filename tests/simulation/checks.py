"""What must never happen to a caller: to wait or fail while a token is good, to get a dead one, to see a secret."""

from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from nexudus_async import LoginRequiredError, NexudusAuthError, SessionClosedError, Token

from .book import EPSILON, Book, Issued
from .service import SECRET

__all__ = ["Call", "Checks"]

SHORT = 60.0
"""Seconds: a token that lives no longer may end on its way to the API."""


@dataclass(eq=False)
class Call:
    """One call, what the book said when it began, and which API requests it sent.

    answers: to its requests: status, and the seconds that it asks to wait. renewed: whether one was sent again after a
    401. replays, waited: how often after throttled answers, and for how long. due, due_at: when it may be sent again
    after one, by the monotonic clock and by the loop's. refused, barred: whether no other token could be had when the
    last 401 came, and whether a failure forbade to ask for one.
    """

    number: int
    kind: str
    deadline: float = 0.0
    rejects: Token | None = field(default=None, repr=False)
    turn: int = 0
    began: float = 0.0
    began_at: float = 0.0
    phase: str = ""
    held: bool = False
    refused: bool = False
    barred: bool = False
    renewing: bool = False
    closed: bool = False
    newest: Issued | None = None
    logouts: int = 0
    path: str = ""
    sent: str = ""
    requests: int = 0
    cancelled: bool = False
    answers: list[tuple[int, float | None]] = field(default_factory=list[tuple[int, float | None]])
    renewed: bool = False
    replays: int = 0
    waited: float = 0.0
    due: float = 0.0
    due_at: float = 0.0

    def passes(self) -> None:
        """A middleware around ours begins a try: it is to be judged by itself."""
        self.answers.clear()
        self.renewed, self.replays, self.waited = False, 0, 0.0


class Checks:
    """Judges calls. `turn` and `now` are the loop's, `renewing` tells whether a flight is under way."""

    def __init__(
        self,
        book: Book,
        report: Callable[[str], None],
        turn: Callable[[], int],
        now: Callable[[], float],
        renewing: Callable[[], bool],
    ) -> None:
        self._book = book
        self._report = report
        self._turn = turn
        self._now = now
        self._renewing = renewing
        self._errors: dict[int, BaseException] = {}
        self.closed_at: float | None = None
        self.from_outside = False
        """Whether a flight was cancelled from outside: its waiters get `SessionClosedError`."""
        self.no_memory = False
        """Whether the launch of a flight has failed."""

    def begins(self, call: Call) -> None:
        """Keep what the book says now."""
        book = self._book
        call.turn, call.began, call.began_at = self._turn(), self._now(), book.clock.monotonic()
        call.phase, call.held, call.newest, call.closed = book.phase(), book.may_hold(), book.newest, book.closed
        call.logouts, call.renewing = book.logouts, self._renewing()

    def returns(self, call: Call, token: Token | None) -> None:
        """A call for a token returns."""
        book = self._book
        if call.closed:
            self._report(f"closed: {call.kind} returned after close()")
        if token is None:
            if not (call.held or book.newest is None or call.newest is None):
                self._report("reject: None, although a renewal was possible")
            return
        issued = book.issued.get(token.access_token)
        if issued is None:
            self._report("a token was served that nobody issued")
            return
        if book.elapsed(issued) >= issued.lifetime + EPSILON:
            self._report(f"never 3: {call.kind} served an expired token")
        if issued.number <= book.logged_out_before and call.logouts == book.logouts:
            self._report("logout: a token from before was served")
        if call.logouts != book.logouts and call.phase and call.kind == "token":
            self._report("logout: a call that waited meanwhile signed in again")
        if call.newest is not None and issued.number < call.newest.number:
            self._report(f"{call.kind} returned an older token than the one that was there")
        if call.kind == "refresh" and issued.delivered < call.began_at - EPSILON:
            self._report("refresh() returned a token that was there before")
        if call.rejects is not None and token.access_token == call.rejects.access_token:
            self._report("reject() returned the token that was rejected")
        if call.kind == "token":
            self._check_wait(call, issued)

    def _check_wait(self, call: Call, issued: Issued) -> None:
        book, suspended = self._book, self._turn() != call.turn
        if call.phase == "open" and suspended:
            self._report("never 3: token() suspended while the token is good")
        if call.phase == "hard" and call.newest is not None:
            waited = self._now() - call.began
            still_good = book.elapsed(call.newest) < call.newest.lifetime
            if still_good and waited > book.policy.mandatory_wait + EPSILON:
                self._report(f"never 3: token() waited {waited:.1f} s within the hard margin")
            if not suspended and not call.held:
                self._report("token() did not wait for a renewal within the hard margin")
        overdue = not suspended and book.is_overdue() and not issued.doubtful
        if overdue and not (call.held or self._renewing()):
            self._report("token() found an ageing token and launched no renewal")

    def left_at_401(self, call: Call) -> bool:
        """A call returns a 401, the API's word on a permission; tell whether it may be judged: nothing has ended."""
        if call.refused and not call.renewed:
            self._report(f"{call.kind} was answered 401, though it is known that the token is dead, and why")
        issued = self._book.issued.get(call.sent.removeprefix("Bearer "))
        lives = issued is not None and issued.lifetime > SHORT and not self._book.closed
        return lives and call.logouts == self._book.logouts

    def raises(self, call: Call, error: BaseException) -> None:
        """A call ends with an error."""
        book = self._book
        self.check_text(error)
        if isinstance(error, MemoryError) and self.no_memory:
            return
        if not isinstance(error, NexudusAuthError):
            if not isinstance(error, aiohttp.ClientError) or call.kind in ("token", "refresh", "reject"):
                self._report(f"{call.kind} raised {type(error).__name__}")
            return
        if id(error) in self._errors:
            self._report("two callers were given the same error object")
        self._errors[id(error)] = error  # kept, so that its id stays its own
        suspended = self._turn() != call.turn
        closed = isinstance(error, SessionClosedError)
        if closed and not (book.closed or self.from_outside):
            self._report(f"{call.kind} raised SessionClosedError, but nobody closed the session")
        if isinstance(error, LoginRequiredError) and call.logouts == book.logouts:
            self._report(f"{call.kind} raised LoginRequiredError without a logout")
        if call.closed and (not closed or suspended):
            self._report(f"closed: {call.kind} did not raise SessionClosedError at once")
        if call.kind != "token" or book.closed or call.logouts != book.logouts:
            return
        which = "contested: " if book.contested else ""
        if call.phase == "open":
            self._report(f"{which}never 3: token() raised {type(error).__name__} while the token is good")
        elif not suspended and not call.held:
            self._report(f"{which}token() failed at once although no failure is held against it")
        elif call.phase == "hard" and book.is_servable() and not closed:
            self._report(f"{which}never 3: token() raised within the hard margin")

    def ends(self, call: Call) -> None:
        """A call is over, however it ended."""
        book = self._book
        waits_for_token = call.kind in ("token", "refresh", "reject")
        by_close = self.closed_at is not None and not call.closed and not call.cancelled
        if by_close and waits_for_token and self._now() > (self.closed_at or 0.0) + EPSILON:
            self._report("closed: close() did not end a wait")
        if waits_for_token and self._now() - call.began > 12 * book.policy.flight_deadline + 300:
            self._report(f"{call.kind} took {self._now() - call.began:.0f} s")

    def check_text(self, what: BaseException | object) -> None:
        """No secret in whatever a person may read."""
        cause: BaseException | object | None = what
        for _ in range(5):
            if cause is None:
                return
            if SECRET in str(cause) or SECRET in repr(cause):
                self._report(f"never 5: a secret in the text of {type(cause).__name__}")
            cause = cause.__cause__ if isinstance(cause, BaseException) else None
