"""The numbers that a `RefreshPolicy` accepts."""

import dataclasses
import math
from typing import Any, cast

import pytest

from nexudus_async import ConfigurationError, RefreshPolicy

NUMBERS = [field.name for field in dataclasses.fields(RefreshPolicy)]
POSITIVE = ["flight_deadline", "connect_timeout", "default_lifetime"]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, -1e-9, math.nan, math.inf, -math.inf, True, "60", b"1", [1]])
def test_a_nonsense_number_is_refused_by_name(name: str, value: Any) -> None:
    """The message says which, what it may be, and what it was."""
    with pytest.raises(ConfigurationError) as caught:
        RefreshPolicy(**{name: value})
    assert str(caught.value).startswith(name)
    assert ("seconds" in str(caught.value)) is (name != "jitter")
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [10**400, -(10**400), 10**5_000], ids=["large", "small", "too long to print"])
def test_a_number_beyond_all_floats_is_refused(name: str, value: int) -> None:
    """As any other that makes no sense."""
    with pytest.raises(ConfigurationError, match=rf"^{name} .* not -?inf$"):
        RefreshPolicy(**{name: value})


@pytest.mark.parametrize("name", NUMBERS)
def test_zero_is_refused_only_where_it_makes_no_sense(name: str) -> None:
    """A deadline, a connection attempt or a lifetime of nothing can never work."""
    if name in POSITIVE:
        with pytest.raises(ConfigurationError, match=f"{name} must be .* more than 0, not 0"):
            RefreshPolicy(**{name: 0})
    else:
        assert getattr(RefreshPolicy(**{name: 0}), name) == 0


@pytest.mark.parametrize("name", sorted(set(NUMBERS) - {"advisory_window", "hard_margin"}))
def test_only_the_windows_may_be_left_to_the_policy(name: str) -> None:
    """None elsewhere is a mistake."""
    with pytest.raises(ConfigurationError, match=name):
        RefreshPolicy(**{name: cast("float", None)})


@pytest.mark.parametrize(
    ("window", "margin", "fine"), [(60, 59, True), (60, 60, False), (60, 61, False), (0, 0, False)]
)
def test_the_margin_is_less_than_the_window(window: float, margin: float, fine: bool) -> None:
    """Or nothing would ever be refreshed in the background."""
    if fine:
        RefreshPolicy(advisory_window=window, hard_margin=margin)
        return
    with pytest.raises(ConfigurationError, match=r"hard_margin .* must be less than advisory_window"):
        RefreshPolicy(advisory_window=window, hard_margin=margin)


@pytest.mark.parametrize(("jitter", "fine"), [(1.0, True), (1.001, False), (25, False)])
def test_jitter_is_a_share(jitter: float, fine: bool) -> None:
    """From 0 to 1; 25 would have meant per cent."""
    if fine:
        RefreshPolicy(jitter=jitter)
        return
    with pytest.raises(ConfigurationError, match="jitter is a share of the window from 0 to 1"):
        RefreshPolicy(jitter=jitter)
