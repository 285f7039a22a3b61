"""The index: where the tests of a behaviour are.

The folders follow the rooms of the package; what runs through several rooms is in `session`.

    values       tokens and secrets, events, credentials, errors, checks of arguments
    stores       the contract of all stores; what is special to file, Redis and encryption
    refresh      freshness and policy, back-off, single flight
    fleet        several processes, one chain (real processes; marked `fleet`)
    oauth        the protocol, the endpoint's tries, lost answers, refused passwords
    ratelimit    Retry-After and RateLimit fields, the adaptive rate, the gate, throttling (one request, many, the pool,
                 WebSockets), jobs against limiters in virtual time, pacing
    http         origins, 401 and replay, whose authorization, netrc, lent sessions, what aiohttp has to have, secrets;
                 the same for session and middleware
    session      serving, sharing, closing, keep-alive, the manager, bad input
    testing      the emulator, its control interface and its page, the manual clock, the fixtures
    cli          the command line
    simulation   bad days, ten thousand times, and proof that it would notice

`test_layering.py` holds the rooms apart, `test_readme.py` runs the README, `test_soak.py` lasts.
"""
