"""When a record may lack what was written last: it is on another server than it was written to, and not for long."""

import pytest

from nexudus_async._fleet.lost_writes import LostWrites
from nexudus_async.stores._record import Record
from nexudus_async.testing import ManualClock

PATIENCE = 35.0
"""Seconds that a flight of another process may take, its save included."""


@pytest.mark.parametrize(("written_to", "now_on"), [(None, None), (None, "one"), ("one", None), ("one", "one")])
def test_a_store_that_tells_of_no_move_has_lost_nothing(written_to: str | None, now_on: str | None) -> None:
    """Nor has one that does not tell."""
    assert not LostWrites(ManualClock(), PATIENCE).may_be_lost(Record(3, server=written_to), now_on)


def test_after_a_move_who_was_refreshing_has_time_to_end() -> None:
    """From the first look on, however often one looks; then it has saved what came of it, or never will."""
    clock, record = ManualClock(), Record(3, server="one")
    lost = LostWrites(clock, PATIENCE)
    for _ in range(4):
        assert lost.may_be_lost(record, "another")
        clock.advance(PATIENCE / 4)
    assert not lost.may_be_lost(record, "another")
    clock.advance(1)
    assert not lost.may_be_lost(record, "another")


def test_each_record_that_was_moved_has_a_time_of_its_own() -> None:
    """A later generation was written to a server that is gone, too."""
    clock = ManualClock()
    lost = LostWrites(clock, PATIENCE)
    assert lost.may_be_lost(Record(3, server="one"), "another")
    clock.advance(PATIENCE)
    assert lost.may_be_lost(Record(4, server="another"), "a third")
    clock.advance(PATIENCE)
    assert not lost.may_be_lost(Record(4, server="another"), "a third")
