"""The index: where the tests of a behaviour are.

The folders follow the rooms of the package; what runs through several rooms is in `session`.

    values       tokens and secrets, events, credentials, errors, checks of arguments
    stores       the contract of all stores; what is special to file, Redis and encryption
    refresh      freshness and policy, back-off, single flight
    fleet        several processes, one chain: in virtual time, and, marked `fleet`, as real processes
    oauth        the protocol, the endpoint's tries, one-time codes, lost answers, refused passwords, TLS
    ratelimit    Retry-After and RateLimit fields, the adaptive rate, the gate, throttling (one request, many, the pool,
                 WebSockets), jobs against limiters in virtual time, pacing
    http         origins, 401 and replay, whose authorization, netrc, lent sessions, what aiohttp has to have, secrets;
                 the same for session and middleware
    session      serving, sharing, signing in with and without a password, closing, keep-alive, many accounts, the
                 manager, mocks, bad input
    testing      the emulator, its control interface and its page, the manual clock, the fixtures
    cli          the command line
    typing       what type checkers say, and that every public name has a docstring
    simulation   a thousand bad days, or as many as `--schedules` says, and proof that it would notice

`test_layering.py` holds the rooms apart, `test_readme.py` runs the README, and `cli/test_readme.py` its section on the
command line. `test_otel.py`, `test_prometheus.py` and `test_httpx.py` are about the files of these names,
`test_loop.py` is about `--loop uvloop`. `test_soak.py` runs for long. What needs a real server or several processes,
and so waits for real time, is marked `fleet` in any folder; `valkey.py` starts the server.
"""
