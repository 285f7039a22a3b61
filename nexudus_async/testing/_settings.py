"""How the emulated service behaves, in one place. All of it may be changed while it runs."""

from dataclasses import dataclass


@dataclass(slots=True)
class Settings:
    """What the service does of its own accord.

    lifetime: seconds that the next access tokens live; told to the client as `expires_in`.
    enforce_limits: throttle by the limits.
    unknown_account_is_500: answer a sign-in for an account that does not exist with a 500, as seen live, instead of
        the documented `invalid_grant`.
    post_answers_nothing: answer a POST with 200 and an empty body, as seen live. The record is written all the same.
    drop_client_id: lose that header, as a proxy that drops names with an underscore does (nginx unless told otherwise):
        a sign-in goes by the e-mail then, and every refresh fails as `invalid_grant`.
    lock_after: failed sign-ins in a row after which an account is suspended; None for never. That insisting can lock
        an account is known, the number is not.
    """

    lifetime: float
    enforce_limits: bool = False
    unknown_account_is_500: bool = False
    post_answers_nothing: bool = False
    drop_client_id: bool = False
    lock_after: int | None = None
