"""What messages say: the service's own words without what we sent, and what looks odd about refused credentials."""

import json
import re
from typing import Final
from urllib.parse import quote, quote_plus, urlsplit

from nexudus_async._token import Secret

MAX_DESCRIPTION: Final = 200
"""Characters of the service's own words that a message shows."""
_HOST: Final = r"[a-z0-9.:-]{1,253}"
_INVISIBLE: Final = "\u200b\u200c\u200d\u2060\ufeff"


def words(description: object, secrets: tuple[Secret, ...]) -> str | None:
    """Return the service's words on one line, cut, without what we sent in any of the ways it may come back."""
    if not isinstance(description, str):
        return None
    text = masked(description, secrets)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line[:MAX_DESCRIPTION] or None


def masked(text: str, secrets: tuple[Secret, ...]) -> str:
    """Return `text` without the secrets: plain, or encoded for a URL, JSON or HTML, in whichever case."""
    forms = {form for secret in secrets for form in _forms(str(secret))}
    for form in sorted(forms, key=len, reverse=True):  # one may be a part of another
        text = re.sub(re.escape(form), "***", text, flags=re.IGNORECASE)  # %C3 and %c3 are the same
    return text


def host_in(location: str, secrets: tuple[Secret, ...]) -> str | None:
    """Return the host that a redirect leads to, if it is one that can be shown; its path and query never are."""
    try:
        host = (urlsplit(location.strip()).hostname or "").lower()
    except ValueError:
        return None
    return host if re.fullmatch(_HOST, host) and masked(host, secrets) == host else None


def oddities(username: str, password: str) -> str:
    """Return what may be why these credentials are refused, as the end of a message; nothing for ordinary ones."""
    odd = [*_oddities("user name", username), *_oddities("password", password)]
    return "".join(f"; the {each}" for each in odd) + (", and was sent so" if odd else "")


def _oddities(name: str, value: str) -> list[str]:
    visible = value.strip().strip(_INVISIBLE).strip()
    if not visible:
        return [f"{name} is blank"]
    before, _, after = value.partition(visible)
    odd = [f"{name} {where} with {_kind(part)}" for where, part in (("begins", before), ("ends", after)) if part]
    if len(visible) > 1 and visible[0] == visible[-1] and visible[0] in "\"'":
        odd.append(f"{name} is in quotes")
    return odd


def _kind(blanks: str) -> str:
    if any(character in "\r\n" for character in blanks):
        return "a newline"
    return "an invisible character" if blanks.strip() else "a blank"


def _forms(secret: str) -> tuple[str, ...]:
    import html  # noqa: PLC0415 - its table of entities would make importing this package slower by a tenth

    as_json = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]
    return secret, quote_plus(secret), quote(secret, safe=""), *as_json, html.escape(secret)
