"""What a test reads from the emulator after, or while, the client is at work."""

from ._records import RequestRecord
from ._service import TOKEN_PATH
from ._world import World


class Observed:
    """The record of the requests, and the counts that tests assert."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def requests(self) -> list[RequestRecord]:
        """Every request since the start or `reset_record()`, in order of arrival; the page and its like left out."""
        return self._world.service.log.records()

    @property
    def token_requests(self) -> list[RequestRecord]:
        """The requests to the token endpoint."""
        return [record for record in self.requests if record.path == TOKEN_PATH]

    @property
    def sign_ins(self) -> int:
        """How many sign-ins were granted, an answer that was lost afterwards included."""
        return self._world.grants.sign_ins

    @property
    def sign_ins_refused(self) -> int:
        """How many sign-ins were refused, for whatever reason; each user counts its own failures, too."""
        return self._world.grants.sign_ins_refused

    @property
    def renewals(self) -> int:
        """How many refreshes were granted, an answer that was lost afterwards included."""
        return self._world.grants.refreshes

    @property
    def renewals_refused(self) -> int:
        """How many refreshes were refused, for whatever reason."""
        return self._world.grants.refreshes_refused

    @property
    def refresh_tokens_reused(self) -> int:
        """How often a refresh token was presented after it had been used in a refresh."""
        return self._world.grants.refresh_tokens_reused

    @property
    def exchanges(self) -> int:
        """How many one-time JWTs were exchanged for a session, an answer that was lost afterwards included."""
        return self._world.grants.exchanges

    @property
    def max_concurrent_token_requests(self) -> int:
        """The most token requests that were under way at once."""
        return self._world.service.token_gauge.peak

    @property
    def max_concurrent_renewals(self) -> int:
        """The most refreshes of one `client_id` that were under way at once."""
        return self._world.service.refresh_gauge.peak

    @property
    def secrets(self) -> frozenset[str]:
        """Every token and JWT ever issued, users' passwords and keys as they are now: what no log may contain."""
        return self._world.accounts.secrets()

    def reset_record(self) -> None:
        """Forget the requests and the counts. Users, tokens, faults and limits stay."""
        self._world.reset_record()
