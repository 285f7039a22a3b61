"""Which request bodies can be sent a second time as they are."""

from collections.abc import Mapping
from typing import Any

__all__ = ["can_be_sent_again"]


def can_be_sent_again(options: Mapping[str, Any]) -> bool:
    """Tell whether a request with these aiohttp keywords can be repeated.

    None, str, bytes, a dict of plain values and `json=` can. A generator, stream, file or `FormData` may be used up
    by the first sending, and an upload tracker belongs to one.
    """
    if options.get("upload_tracker") is not None:
        return False
    data: object = options.get("data")
    if isinstance(data, dict):
        values: list[object] = list(data.values())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType, reportUnknownMemberType] - of any dict
        return all(isinstance(value, str | bytes | int | float) for value in values)
    return data is None or isinstance(data, str | bytes)
