"""Deterministic simulation: a bad day at Nexudus, ten thousand times over, and the same every time.

A seed makes a scenario (`actions.py`): a setting (lifetime, policy, kind of credentials) and a list of things that
happen: callers arrive, time out and are cancelled, answers are late, lost, refused or doubled, tokens are revoked,
passwords changed, the machine is suspended, its clock set, the session logged out or closed.

It is played (`play.py`) in a world of its own (`world.py`, `callers.py`) on an event loop whose time is virtual
(`loop.py`): when nothing is ready it jumps to the next timer, so an hour costs nothing and no socket, thread or real
clock can bring in chance. In it run the real `TokenSession`, `TokenManager`, `TokenState`, `Flight`, `Backoff`,
`TokenEndpoint` and its protocol. The cut is at aiohttp: `transport.py` stands in for its `ClientSession` and
raises its exceptions; behind it is a Nexudus (`service.py`) that is written from what is known of the service and
shares no code with the client.

What must never happen is checked where it would: `chain.py` sees every token request (one at a time, no refresh token
twice, none lost, none without a reason or before its time), `checks.py` every answer to a caller (when it may wait or
fail, that nothing expired is served, that no text holds a secret), `replays.py` what a 401 leads to. They know only
`book.py`, a reading of the rules that is independent of the code. When the actions are over the faults stop, and
everybody must be served; after the close nothing may be left.

    pytest tests/simulation                                 what CI runs
    pytest tests/simulation --schedules 200000 --seed 10000  more, from another seed on
    python -m tests.simulation 4711                          one seed, with its trace, shrunk if it fails

A failing seed is shrunk (`shrink.py`) to the actions that are needed. `test_mutants.py` breaks the library on
purpose, one function at a time (`mutants`), and demands that each is noticed: a check that cannot fail proves nothing.
"""
