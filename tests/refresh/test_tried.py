"""The marks of credentials for one use that were used."""

from nexudus_async._refresh.tried import Tried


def test_a_mark_is_the_same_in_every_process_and_every_release() -> None:
    """It lies in a store for the others: made in another way, a spent credential would be sent again."""
    assert Tried("account").mark_of("secret") == "8a973821a941f34f7264bc6559adbd01"


def test_a_mark_tells_accounts_apart() -> None:
    """It is keyed by what the store files the account under, and gives nothing of the credential away."""
    mark = Tried("account").mark_of("secret")
    assert mark != Tried("other").mark_of("secret")
    assert mark != Tried("account").mark_of("other")
    assert "secret" not in mark


def test_what_was_not_used_after_all_is_forgotten() -> None:
    """Also where it is gone already, because newer marks have taken its place."""
    tried = Tried("account")
    tried.add("mark")
    tried.take_back("mark")
    assert tried.marks == ()
    tried.take_back("mark")
    assert tried.marks == ()
