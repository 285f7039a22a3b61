"""Checks of what a caller gives: kinds, seconds and origins, so that a mistake shows where it is made.

No message repeats a value that may be a secret. Scheme, host and port of two origins must be equal; there is no such
thing as "close enough".
"""

import ipaddress
import math

from yarl import URL

from .errors import ConfigurationError

OriginKey = tuple[str, str | None, int | None]
_AS_HTTP = {"ws": "http", "wss": "https"}


def check_kind(name: str, value: object, kind: type, instead: str) -> None:
    """Raise `ConfigurationError`, naming no value, unless `value` is of `kind` or None."""
    if value is not None and not isinstance(value, kind):
        raise ConfigurationError(f"{name} must be {instead}, not {type(value).__name__}")


def check_methods(name: str, value: object, methods: tuple[str, ...], instead: str) -> None:
    """Raise `ConfigurationError`, naming no value, unless `value` has the methods of a protocol."""
    missing = [method for method in methods if not callable(getattr(value, method, None))]
    if missing or isinstance(value, type):
        raise ConfigurationError(f"{name} must be {instead}, with {', '.join(methods)}; not {kind_of(value)}")


def kind_of(value: object) -> str:
    """Return what kind of thing a value is, for a message that must not show it."""
    return f"the class {value.__name__} itself" if isinstance(value, type) else type(value).__name__


def check_seconds(name: str, value: object, *, zero: bool) -> None:
    """Raise `ConfigurationError` unless `value` is a finite number, more than 0 or, where `zero` says so, 0."""
    number = _number(value)
    if math.isfinite(number) and (number > 0 or (zero and number == 0)):
        return
    limit = "0 or more" if zero else "more than 0"
    raise ConfigurationError(f"{name} must be a finite number of seconds, {limit}, not {_shown(value)}")


def check_share(name: str, value: object, whole: str) -> None:
    """Raise `ConfigurationError` unless `value` is a number from 0 to 1."""
    if not 0 <= _number(value) <= 1:
        raise ConfigurationError(f"{name} is a share of the {whole} from 0 to 1, not {_shown(value)}")


def _number(value: object) -> float:
    """Return `value` as a float: infinite where it is too large to be one, NaN where it is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _shown(value: object) -> str:
    return str(_number(value)) if math.isinf(_number(value)) else repr(value)  # an int may be too long to be shown


def parse_origin(name: str, value: str | URL, *, allow_insecure_http: bool) -> URL:
    """Return the origin that a setting names (RFC 6454, section 4). `name` is the setting's, for the message.

    Raises `ConfigurationError` for what is not an origin, and for plain http to another machine.
    """
    example = "write it like https://spaces.nexudus.com"
    try:
        url = URL(value)
        scheme, host, port = url.scheme, url.host, url.port
        odd = any(not character.isprintable() or character in " *" for character in str(value))
    except (TypeError, ValueError):
        raise ConfigurationError(f"{name} is not a URL; {example}") from None
    if scheme not in ("http", "https") or not host or not port:
        raise ConfigurationError(f"{name} needs http or https and a host; {example}")
    if odd:
        raise ConfigurationError(f"{name} must be one origin, without blanks or wildcards; {example}")
    if url.raw_user is not None or url.raw_password is not None:
        raise ConfigurationError(f"{name} must not contain a user name or password; {example}, and pass credentials")
    if url.raw_path not in ("", "/") or url.raw_query_string or url.raw_fragment:
        raise ConfigurationError(f"{name} must be an origin, without path, query or fragment; {example}")
    if scheme == "http" and not allow_insecure_http and not _is_loopback(host):
        raise ConfigurationError(
            f"{name} is plain http to {host}: passwords and tokens could be read on the way. Use https, or, in a "
            "network you trust, pass allow_insecure_http=True"
        )
    return url.origin()


def origin_key(url: URL) -> OriginKey:
    """Return what must be equal for two URLs to be of one origin. WebSocket schemes count as their http twins."""
    scheme = url.scheme
    return (_AS_HTTP.get(scheme, scheme), url.raw_host, url.port)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
