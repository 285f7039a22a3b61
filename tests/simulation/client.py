"""The session under test, as a setting wants it."""

from typing import Any

from nexudus_async import Clock, Listener, Pacing, PasswordCredentials, RefreshPolicy, Throttle, TokenSession

from .api import ALLOWED
from .days import Setting
from .sendings import Limits

__all__ = ["limits_of", "session_of"]


def session_of(
    setting: Setting, credentials: PasswordCredentials, policy: RefreshPolicy, clock: Clock, on_event: Listener
) -> TokenSession:
    """Return a session for the setting."""
    pacing: Any = setting.pacing
    amount, seconds, spacing = pacing or (0, 0, 0.0)
    return TokenSession(
        credentials, policy=policy, clock=clock, on_event=on_event, allowed_origins=[ALLOWED],
        keep_alive=setting.keep_alive,
        throttle=None if setting.throttle is None else Throttle(**setting.throttle),
        pacing=Pacing(requests=[f"{amount}/{seconds} second"], spacing=spacing) if pacing else None,
    )  # fmt: skip


def limits_of(setting: Setting) -> Limits:
    """Return what the setting asks of it."""
    throttle = {"max_replays": 0} if setting.throttle is None else setting.throttle
    pacing: Any = setting.pacing
    replays, wait = throttle.get("max_replays", 5), throttle.get("max_wait", 60.0)
    return Limits(replays, wait, throttle.get("first_wait", 1.0), *pacing)
