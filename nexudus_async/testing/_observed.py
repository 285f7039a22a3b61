"""What a test reads from the emulator after, or while, the client is at work."""

from ._grants import Grants
from ._records import RequestRecord
from ._service import TOKEN_PATH, Service

__all__ = ["Observed"]


class Observed:
    """The record of the requests, and the counts that tests assert."""

    def __init__(self, service: Service, grants: Grants) -> None:
        self._service = service
        self._grants = grants

    @property
    def requests(self) -> list[RequestRecord]:
        """Every request since the start or `reset_record()`, in order of arrival."""
        return self._service.log.records()

    @property
    def token_requests(self) -> list[RequestRecord]:
        """The requests to the token endpoint."""
        return [record for record in self.requests if record.path == TOKEN_PATH]

    @property
    def sign_ins(self) -> int:
        """How many sign-ins were granted, an answer that was lost afterwards included."""
        return self._grants.sign_ins

    @property
    def renewals(self) -> int:
        """How many renewals were granted, an answer that was lost afterwards included."""
        return self._grants.renewals

    @property
    def renewals_refused(self) -> int:
        """How many renewals were refused, for whatever reason."""
        return self._grants.renewals_refused

    @property
    def refresh_tokens_reused(self) -> int:
        """How often a refresh token was presented after it had been used in a renewal."""
        return self._grants.refresh_tokens_reused

    @property
    def max_concurrent_token_requests(self) -> int:
        """The most token requests that were under way at once."""
        return self._service.token_gauge.peak

    @property
    def max_concurrent_renewals(self) -> int:
        """The most renewals of one `client_id` that were under way at once."""
        return self._service.renewal_gauge.peak

    def reset_record(self) -> None:
        """Forget the requests and the counts. Users, tokens, faults and limits stay."""
        self._service.log.clear()
        self._grants.reset_counts()
        self._service.token_gauge.reset()
        self._service.renewal_gauge.reset()
