"""Which URLs are ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from nexudus_async import ConfigurationError
from nexudus_async._validation import origin_key, parse_origin

HOME = "https://spaces.nexudus.com"


def parse(value: str | URL, *, insecure: bool = False) -> URL:
    return parse_origin("base_url", value, allow_insecure_http=insecure)


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        (HOME, HOME),
        (f"{HOME}/", HOME),
        (URL(HOME), HOME),
        ("HTTPS://Spaces.Nexudus.COM", HOME),
        ("https://spaces.nexudus.com:443", HOME),
        ("https://spaces.nexudus.com:8443", "https://spaces.nexudus.com:8443"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_an_origin_is_scheme_host_and_port(value: str | URL, origin: str) -> None:
    """RFC 6454, section 4: case, the default port and a slash make no difference."""
    assert origin_key(parse(value)) == origin_key(URL(origin))
    assert parse(value).path == "/"


@pytest.mark.parametrize(
    "url",
    [
        f"{HOME}/api/x?y=1#z",
        "https://SPACES.nexudus.com/",
        "https://spaces.nexudus.com:443/a",
        "https://user:pw@spaces.nexudus.com/",
        "wss://spaces.nexudus.com/socket",
    ],
)
def test_same_origin(url: str) -> None:
    """Path, query and user info do not count, and a WebSocket's scheme is its http twin's."""
    assert origin_key(URL(url)) == origin_key(URL(HOME))


@pytest.mark.parametrize(
    "url",
    [
        "http://spaces.nexudus.com/",
        "ws://spaces.nexudus.com/",
        "http://spaces.nexudus.com:443/",
        "ws://spaces.nexudus.com:443/",
        "https://spaces.nexudus.com:444/",
        "https://nexudus.com/",
        "https://a.spaces.nexudus.com/",
        "https://spaces.nexudus.com.evil.example/",
        "https://spaces.nexudus.com./",
        "https://spaces.nexudus.com@evil.example/",
        "https://evil.example/#@spaces.nexudus.com",
        "https://evil.example?spaces.nexudus.com",
        "https://spaces.nexudu\N{CYRILLIC SMALL LETTER DZE}.com/",
        "ftp://spaces.nexudus.com/",
        "/relative",
    ],
)
def test_another_origin(url: str) -> None:
    """There is no such thing as close enough: no subdomain, no parent, no look-alike, no weaker scheme."""
    assert origin_key(URL(url)) != origin_key(URL(HOME))


def test_the_default_ports_of_websockets_are_those_of_http() -> None:
    """`ws` is 80, `wss` 443, written or not."""
    assert origin_key(URL("ws://localhost")) == origin_key(URL("http://localhost:80"))
    assert origin_key(URL("wss://localhost:443")) == origin_key(URL("https://localhost"))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "http or https and a host"),
        ("spaces.nexudus.com", "http or https and a host"),
        ("//spaces.nexudus.com", "http or https and a host"),
        ("https://", "http or https and a host|not a URL"),
        ("https:///api", "http or https and a host|not a URL"),
        ("ftp://spaces.nexudus.com", "http or https and a host"),
        ("wss://spaces.nexudus.com", "http or https and a host"),
        ("file:///etc/passwd", "http or https and a host"),
        ("https://spaces.nexudus.com:99999", "not a URL|http or https"),
        ("https://spaces.nexudus.com:x", "not a URL"),
        ("https://[::1", "not a URL"),
        (None, "not a URL"),
        (7, "not a URL"),
        ("https://user@spaces.nexudus.com", "user name or password"),
        ("https://user:s3cr3t@spaces.nexudus.com", "user name or password"),
        ("https://:s3cr3t@spaces.nexudus.com", "user name or password"),
        (f"{HOME}/api", "without path"),
        (f"{HOME}//", "without path"),
        (f"{HOME}/?a=s3cr3t", "without path, query"),
        (f"{HOME}/#a", "without path, query or fragment"),
    ],
)
def test_what_is_no_origin_is_refused_with_an_example(value: str, reason: str) -> None:
    """The message names the setting, says what is wrong, shows a right one, and repeats no secret."""
    with pytest.raises(ConfigurationError, match=reason) as caught:
        parse(value, insecure=True)
    assert str(caught.value).startswith("base_url")
    assert HOME in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "http://localhost:8080",
        "http://LOCALHOST",
        "http://app.localhost",
        "http://127.0.0.1:1",
        "http://127.9.9.9",
        "http://[::1]:8080",
    ],
)
def test_plain_http_to_this_machine_is_fine(value: str) -> None:
    """Nothing leaves it (RFC 6761, section 6.3)."""
    assert parse(value).scheme == "http"


@pytest.mark.parametrize(
    "value",
    [
        "http://spaces.nexudus.com",
        "http://192.168.0.1",
        "http://0.0.0.0",
        "http://[2001:db8::1]",
        "http://localhost.example.com",
        "http://notlocalhost",
        "http://127.0.0.1.example.com",
        "http://2130706433",
    ],
)
def test_plain_http_to_another_is_refused_unless_asked_for(value: str) -> None:
    """The message says what to write."""
    with pytest.raises(ConfigurationError, match="allow_insecure_http=True"):
        parse(value)
    assert parse(value, insecure=True).scheme == "http"


@given(st.text() | st.from_regex(r"https?://[^/]*(/.*)?", fullmatch=True))
def test_no_text_raises_anything_else(value: str) -> None:
    """An origin or a ConfigurationError."""
    try:
        origin = parse(value)
    except ConfigurationError:
        return
    assert origin.scheme == "https" or origin.host
    assert origin.raw_user is None
