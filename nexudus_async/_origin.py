"""Origins: which URLs are ours. Scheme, host and port must be equal; there is no such thing as "close enough"."""

import ipaddress

from yarl import URL

from .errors import ConfigurationError

__all__ = ["OriginKey", "origin_key", "parse_origin"]

OriginKey = tuple[str, str | None, int | None]
_AS_HTTP = {"ws": "http", "wss": "https"}


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
