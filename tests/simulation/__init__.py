"""Deterministic simulation: a bad day at Nexudus, ten thousand times over, and the same every time.

A seed makes a scenario (`scenarios.py`): a setting (lifetime, policy, kind of credentials) and a list of things that
happen (`actions.py`): callers arrive, time out and are cancelled, answers are late, lost, refused or doubled, tokens
are revoked, passwords changed, the machine is suspended, its clock set, the session logged out or closed. What seldom
comes together by chance is drawn as one piece (`episodes.py`): a handful of actions in a row.

It is played (`play.py`) on an event loop whose time is virtual (`loop.py`): when nothing is ready it jumps to the next
timer, so an hour costs nothing and no socket, thread or real clock can bring in chance. In it run the real
`TokenSession`, `TokenManager`, `TokenState`, `Flight`, `Backoff`, `TokenEndpoint` and its protocol, throttle, pacing,
keep-alive and middleware. The cut is at aiohttp: `transport.py` and `api.py` stand in for its `ClientSession` and
raise its exceptions; behind them is a Nexudus (`service.py`) that is written from what is known of the service and
shares no code with the client. There are two worlds.

**Alone** (`world.py`, `callers.py`): one session without a store. `chain.py` sees every token request (one at a time,
no refresh token twice, none lost, none without a reason or before its time), `sendings.py` every API request (whose
token it carries, how often and when it is sent), `checks.py` every answer to a caller (when it may wait or fail, that
nothing expired is served, that no text holds a secret), `replays.py` what a 401 leads to. They know only `book.py` and
`pauses.py`, a reading of the rules that is independent of the code.

**A fleet** (`fleet/`), every third day: two or three processes, hosts whose clocks differ, and one store between them.
What is between a process and its store is simulated, too (`fleet/store.py`): an operation fails, hangs, is slow, is
done although it fails, or is done later; the store is down for one process or for all, loses its records, goes back to
older ones, shows them late; somebody writes over a record, or a later release does (`fleet/content.py`). Processes are
killed in the middle of anything, and started again. The judge stands at three doors, and goes by what each process can
know (`fleet/history.py`):

- that of the service (`fleet/requests.py`): a refresh token that others have is sent under the lock and noted before;
  none that was used is sent again, save by one who has no other way; the pauses and the latch in the record are kept;
  nothing is asked for that the store has;
- that of the store (`fleet/records.py`): nothing older replaces what is newer; a logout is in the store or still to be
  saved, and what it ended does not come back; a refused refresh token is no good one; a later release's record stays;
  what arrived before a close is saved;
- that of the callers (`fleet/judge.py`, `fleet/process.py`): nobody waits or fails while the token that the process
  holds is good; nothing expired, and nothing that a logout ended, is served; a close ends every wait.

When the actions are over the faults stop, and everybody must be served, and all be saved (`settle.py`,
`fleet/settle.py`); after the close nothing may be left.

    pytest tests/simulation                                 what CI runs
    pytest tests/simulation --schedules 200000 --seed 10000  more, from another seed on
    python -m tests.simulation 4711                          one seed, with its trace, shrunk if it fails
    pytest -m soak tests/simulation                          broken libraries

A failing seed is shrunk (`shrink.py`) to the actions that are needed. `test_mutants.py` breaks the library on
purpose, one function at a time (`mutants`), and demands that each is noticed, in the world where it shows: a check
that cannot fail proves nothing. The mend of a fault is taken out there as well: an older token put back by a save that
fails, an expired record in the place of a living token, a close that leaves something open, a launch that fails, a
record that cannot be read, keep-alive that ignores pauses. One cannot be had here: that `close()` waits for the flight
before the last takes a source that goes on for a while after it was cancelled twice, which no HTTP client does. It has
a test of its own in `tests/session/test_closing_cancelled.py`.

What the simulation has found and the library has yet to mend is in `known.py`, by the first words of the violation.
"""
