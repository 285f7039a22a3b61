"""What is known of tokens, of the requests for them, and of what each process knows: plain data for the judge."""

from dataclasses import dataclass, field

from tests.simulation.chain import TokenRequest

from .content import Content

__all__ = ["Flight", "Issued", "Seen", "Sent"]


@dataclass(eq=False, slots=True)
class Issued:
    """A token that reached a process. serial: the service's own. sent: when it was asked for. blind: as for `Sent`.

    wavers: whether the store was told to save it, and has not confirmed that.
    """

    serial: int
    access: str = field(repr=False)
    refresh: str = field(repr=False)
    client_id: str
    lifetime: float
    sent: float
    by: int
    began: float
    blind: bool = False
    wavers: bool = False


@dataclass(eq=False, slots=True)
class Flight:
    """What a process does to get a token. loaded: what it read for that. failed: whether the store did meanwhile."""

    process: int
    began: float
    forced: bool = False
    loaded: Content | None = None
    failed: bool = False


@dataclass(eq=False, slots=True)
class Sent:
    """A token request of a process.

    blind: it cannot sign in, and the store was down. own: the refresh token was one that nobody else had.
    """

    process: int
    request: TokenRequest
    at: float
    blind: bool
    flight: Flight
    own: bool = False


@dataclass(eq=False, slots=True)
class Seen:
    """What one process knows.

    ahead: seconds by which its wall clock is. attended: whether a lost answer is better tried again than given up.
    current: the token that it holds. loaded: what it read from the store last.
    burials: how many chains it knows to be ended; dead: of each client_id the newest token of those.
    unburied: whether it was logged out, and the store does not know yet.
    started: what its clock showed then. refused_password: the last that it has sent, and was refused;
    has_probed: whether that was while the store was there.
    newest: the token that it was given last. failed_since: whether the store has failed it since then.
    """

    ahead: float
    attended: bool
    has_credentials: bool
    current: Issued | None = None
    loaded: Content | None = None
    logouts: int = 0
    dead: dict[str, int] = field(default_factory=dict[str, int])
    burials: int = 0
    unburied: bool = False
    rejected: set[str] = field(default_factory=set[str])
    started: float = 0.0
    refused_password: str = field(repr=False, default="")
    has_probed: bool = False
    newest: Issued | None = None
    failed_since: bool = False
