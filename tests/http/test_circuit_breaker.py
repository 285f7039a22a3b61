"""The memory of refreshes that did not help. Each test plays 401s and replays against it."""

import pytest

from nexudus_async._http.unauthorized import MAX_PATHS, CircuitBreaker

START = 5_000.0


class Api:
    """Plays the client's side: generations go up with every refresh, and a forbidden path answers 401 for ever."""

    def __init__(self) -> None:
        self.memory = CircuitBreaker()
        self.generation = 1

    def call(self, path: str, now: float, *, helps: bool, method: str = "GET") -> bool:
        """A 401, and the replay if it led to a refresh. Return whether it did."""
        if not self.memory.allow(method, path, self.generation, now):
            return False
        self.generation += 1
        if helps:
            self.memory.helped(method, path)
        else:
            self.memory.refused(method, path, self.generation, now)
        return True


def test_a_first_401_forces_a_refresh() -> None:
    """Nothing is known against it."""
    assert Api().call("/a", START, helps=True)


def test_refreshes_that_help_are_never_held_back() -> None:
    """An expired token may be met on any path at any time."""
    api = Api()
    assert all(api.call("/a", START, helps=True) for _ in range(100))


@pytest.mark.parametrize("start", [-1e9, 0.0, START, 1e9])
def test_a_futile_path_rests_for_a_minute_growing_to_a_quarter_of_an_hour(start: float) -> None:
    """60, 120, 240, 480, 900, 900 s; not a moment less."""
    api, now = Api(), start
    assert api.call("/a", now, helps=False)
    for pause in (60.0, 120.0, 240.0, 480.0, 900.0, 900.0):
        assert not api.call("/a", now + pause - 0.001, helps=False)
        now += pause
        assert api.call("/a", now, helps=False)


def test_thirty_calls_to_a_forbidden_path_refresh_once() -> None:
    """A worker that polls something it may not see does not refresh with every poll."""
    api = Api()
    assert [api.call("/a", START + n, helps=False) for n in range(30)].count(True) == 1


def test_other_paths_together_force_one_a_minute() -> None:
    """While no forced refresh has helped, thirty forbidden paths cost no more than two."""
    api = Api()
    assert api.call("/forbidden", START, helps=False)
    assert [api.call(f"/{n}", START + 1, helps=False) for n in range(30)].count(True) == 1
    assert not api.call("/x", START + 60.999, helps=False)
    assert api.call("/x", START + 61, helps=False)
    assert not api.call("/y", START + 120.999, helps=False)
    assert api.call("/y", START + 121, helps=False)


def test_a_method_is_as_good_as_another_path() -> None:
    """A path that may be read but not written rests for writing only."""
    api = Api()
    assert api.call("/a", START, helps=False, method="PUT")
    assert api.call("/a", START, helps=True, method="GET")
    assert not api.call("/a", START + 59, helps=False, method="PUT")


def test_one_that_helps_ends_the_doubt_about_other_paths() -> None:
    """But not about the path that was refused with a new token."""
    api = Api()
    assert api.call("/forbidden", START, helps=False)
    assert api.call("/a", START + 1, helps=True)
    assert api.call("/b", START + 2, helps=True)
    assert not api.call("/forbidden", START + 3, helps=False)


def test_a_path_that_was_helped_is_as_new() -> None:
    """Its pauses begin at a minute again."""
    api = Api()
    assert api.call("/a", START, helps=False)
    assert api.call("/a", START + 60, helps=False)
    assert api.call("/a", START + 180, helps=True)
    assert api.call("/a", START + 181, helps=False)
    assert not api.call("/a", START + 240, helps=False)
    assert api.call("/a", START + 241, helps=False)


def test_many_who_shared_a_refresh_count_once() -> None:
    """A hundred concurrent calls of one path are refused after one refresh: the pause is a minute, not an hour."""
    memory = CircuitBreaker()
    assert memory.allow("GET", "/a", 1, START)
    for _ in range(100):
        memory.refused("GET", "/a", 2, START)
    assert not memory.allow("GET", "/a", 2, START + 59.999)
    assert memory.allow("GET", "/a", 2, START + 60)


def test_a_late_replay_with_an_old_token_does_not_lengthen_the_pause() -> None:
    """Answers come in any order."""
    memory = CircuitBreaker()
    memory.refused("GET", "/a", 5, START)
    memory.refused("GET", "/a", 4, START + 59)
    memory.refused("GET", "/a", 5, START + 59)
    assert memory.allow("GET", "/a", 5, START + 60)


@pytest.mark.parametrize(("generation", "counts"), [(4, False), (5, True), (6, True)])
def test_a_refusal_after_the_pause_counts_unless_it_is_of_an_older_token(generation: int, counts: bool) -> None:
    """From the end of the pause on: then it has forced another refresh, which did not help either."""
    memory = CircuitBreaker()
    memory.refused("GET", "/a", 5, START)
    memory.refused("GET", "/a", generation, START + 60)
    assert memory.is_open("GET", "/a", START + 60) is counts
    assert memory.is_open("GET", "/a", START + 179.999) is counts
    assert not memory.is_open("GET", "/a", START + 180)


@pytest.mark.parametrize(("later", "rests"), [(0.0, True), (59.999, True), (60.0, False)])
def test_a_path_rests_until_its_pause_is_over(later: float, rests: bool) -> None:
    """For that method alone."""
    memory = CircuitBreaker()
    memory.refused("GET", "/a", 5, START)
    assert memory.is_open("GET", "/a", START + later) is rests
    assert not memory.is_open("PUT", "/a", START + later)


def test_an_unproven_refresh_is_doubted() -> None:
    """After a body that cannot be sent again nobody sees whether it helped: others force one a minute."""
    memory = CircuitBreaker()
    assert memory.allow("POST", "/upload", 1, START)
    memory.unproven("POST", "/upload", 1, START)
    assert memory.allow("GET", "/a", 2, START)
    assert not memory.allow("GET", "/b", 2, START + 59)
    assert memory.allow("GET", "/b", 2, START + 60)


@pytest.mark.parametrize(("later", "allowed"), [(1.0, False), (59.999, False), (60.0, True)])
def test_the_next_401_shows_that_an_unproven_refresh_did_not_help(later: float, allowed: bool) -> None:
    """Within a minute, for a newer token: that path rests. After a minute it may be another matter."""
    memory = CircuitBreaker()
    assert memory.allow("POST", "/upload", 1, START)
    memory.unproven("POST", "/upload", 1, START)
    assert memory.allow("POST", "/upload", 2, START + later) is allowed


def test_polling_with_an_upload_that_is_forbidden_does_not_refresh_with_every_poll() -> None:
    """An hour of uploads, one a second, each refused: the pauses grow although no replay was ever made."""
    memory, generation, forced = CircuitBreaker(), 1, 0
    for second in range(3600):
        if memory.allow("POST", "/upload", generation, START + second):
            memory.unproven("POST", "/upload", generation, START + second)
            generation += 1
            forced += 1
    assert forced <= 8


def test_the_same_generation_proves_nothing() -> None:
    """A second 401 for the token that is just being refreshed is no judgement of its successor."""
    memory = CircuitBreaker()
    memory.unproven("POST", "/upload", 1, START)
    assert memory.allow("POST", "/upload", 1, START + 1)


def test_the_memory_is_bounded() -> None:
    """The path that was refused longest ago is forgotten first."""
    memory = CircuitBreaker()
    memory.refused("GET", "/first", 2, START)
    for n in range(MAX_PATHS - 1):
        memory.refused("GET", f"/{n}", 2, START)
    memory.refused("GET", "/first", 3, START)  # again: now the youngest
    memory.refused("GET", "/last", 3, START)
    memory.helped("GET", "/somewhere")
    assert len(vars(memory)["_refusals"]) == MAX_PATHS
    assert memory.allow("GET", "/0", 3, START)
    assert not memory.allow("GET", "/1", 3, START)
    assert not memory.allow("GET", "/first", 3, START)
