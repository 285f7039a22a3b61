"""Who may use the control interface: programs on this machine, and the emulator's own page."""

import ipaddress

from aiohttp import hdrs, web
from yarl import URL

_READING = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})


class Access:
    """The rule. `remote_control`: whether others than this machine may; None: if `host` is more than loopback.

    A web page of another origin runs on this machine, too. It cannot send JSON here, nor read an answer, without the
    browser's asking first, and the browser is not told yes; its `Origin` is refused besides. A name that points to
    this machine only now and then (DNS rebinding) would give it the emulator's own origin: so while only this machine
    is answered, `Host` is an address, "localhost", or what the emulator was told to listen on.
    """

    def __init__(self, host: str, remote_control: bool | None) -> None:
        self._host = host
        self._open = not _is_loopback(host) if remote_control is None else remote_control

    def refusal(self, request: web.Request) -> web.Response | None:
        """Return the answer to who may not, None for who may."""
        if not self._open and not _is_loopback(request.remote or ""):
            return _no(403, "This is for programs on the emulator's own machine; remote_control=True opens it to all.")
        if not self._open and not self._is_own_name(request.host):
            return _no(
                403, f"Call the emulator by its address, such as 127.0.0.1, or as localhost; not {request.host}."
            )
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and not _same_place(origin, request.host):
            return _no(403, "Pages of other origins may not use the control interface.")
        has_body = request.can_read_body or request.method not in (*_READING, hdrs.METH_DELETE)
        if has_body and request.content_type != "application/json":
            return _no(415, "Send JSON, with the header Content-Type: application/json.")
        return None

    def _is_own_name(self, netloc: str) -> bool:
        try:
            name = (URL(f"http://{netloc}").host or "").lower()
        except ValueError:
            return False
        return name in ("localhost", self._host.lower()) or _address(name) is not None


def _same_place(origin: str, netloc: str) -> bool:
    return origin.partition("://")[2].lower() == netloc.lower()


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    address = _address(host)
    mapped = getattr(address, "ipv4_mapped", None)
    return address is not None and (mapped or address).is_loopback


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _no(status: int, message: str) -> web.Response:
    return web.json_response({"Message": message}, status=status)
