"""The JSON object in a body, whatever its encoding: a refusal that cannot be read would be sent again and again."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, Final, cast

_CHARSET: Final = r"(?i)charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})"
_OF_TEXT: Final = ("ascii", "utf-", "iso", "cp", "koi8", "gb", "big5", "shift_jis", "euc_", "mac-")
"""How the names of codecs for text begin, in Python's spelling; those for host names or Python source are not."""
_CODE: Final = r'"error"\s*:\s*"([a-z_]{1,40})"'
_UTF_8: Final = "utf-8"


def json_object(body: bytes, content_type: str) -> dict[str, Any] | None:
    """Return the object in `body`, or None. What the encoding cannot be read by is replaced (U+FFFD)."""
    for encoding in _encodings(body, content_type):
        try:
            document: object = json.loads(body.decode(encoding, "replace"), strict=False)  # line breaks within words
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            return cast("dict[str, Any]", document)
    return None


def refusal_in(body: bytes, content_type: str) -> dict[str, Any] | None:
    """Return the error code alone, of a refusal whose JSON is cut off or broken; None where there is none."""
    for encoding in _encodings(body, content_type):
        found = re.search(_CODE, body.decode(encoding, "replace"))
        if found is not None:
            return {"error": found[1]}
    return None


def _encodings(body: bytes, content_type: str) -> Iterator[str]:
    """Yield the encodings to try: a byte order mark or zero bytes count for more than what `Content-Type` says."""
    detected = json.detect_encoding(body)
    if detected != _UTF_8:
        yield detected
    declared = re.search(_CHARSET, content_type)
    if declared is not None and _is_of_text(declared[1]):
        yield declared[1]
    yield _UTF_8


def _is_of_text(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name.startswith(_OF_TEXT)
    except LookupError:
        return False
