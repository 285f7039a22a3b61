"""Which handler answers a request: exact paths and patterns, methods, and a browser's preflight.

aiohttp's own router refuses a second handler for a method and a path; here the latest wins, also while it runs.
"""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import hdrs, web

from ._masking import shown

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PARAMETER = re.compile(r"\{([A-Za-z_]\w*)\}")
_REMEMBERED = "600"  # seconds that a browser may remember a preflight


@dataclass(frozen=True, slots=True)
class Route:
    """A handler, and whether it is behind the bearer."""

    handler: Handler
    authenticated: bool = True


class PathPattern:
    """A path in which `{name}` stands for one segment, such as `/api/spaces/bookings/{Id}`.

    Raises `ValueError` for braces that name nothing, or the same twice.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        names = _PARAMETER.findall(text)
        pieces = _PARAMETER.split(text)  # text, name, text, name, …, text
        literal = "".join(pieces[::2])
        if "{" in literal or "}" in literal or len(names) != len(set(names)):
            raise ValueError(f"in a path, braces hold a name of their own, as in /api/things/{{Id}}; not {shown(text)}")
        expression = [re.escape(p) if i % 2 == 0 else f"(?P<{p}>[^/]+)" for i, p in enumerate(pieces)]
        self._expression = re.compile("".join(expression))

    def match(self, path: str) -> dict[str, str] | None:
        """Return what stands in the place of each name, None for a path of another form."""
        found = self._expression.fullmatch(path)
        return None if found is None else found.groupdict()


class Routes:
    """Routes by method, "*" for every one, and path: exact ones before patterns, later before earlier ones.

    missing: what a 404 says.
    """

    def __init__(self, missing: str = "No such resource.") -> None:
        self._missing = missing
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[PathPattern, str, Route]] = []

    def add(self, method: str, path: str, route: Route) -> None:
        """Answer `method` at `path` by `route` from now on."""
        if "{" not in path and "}" not in path:
            self._exact.setdefault(path, {})[method] = route
        else:
            self._patterns.insert(0, (PathPattern(path), method, route))

    def find(self, request: web.Request) -> Route:
        """Return the route, and put what the names in its path stand for into `request.match_info`.

        Raises aiohttp's 404 or 405, with JSON. HEAD goes with GET.
        """
        exact = self._exact.get(request.path, {}).get(request.method)
        if exact is not None:  # the usual case, without a look at the patterns
            return exact
        found = self._at(request.path)
        method = hdrs.METH_GET if request.method == hdrs.METH_HEAD else request.method
        for wanted in (request.method, method, "*"):
            for known, route, values in found:
                if known == wanted:
                    request.match_info.update(values)
                    return route
        if found:
            raise not_allowed(request.method, [known for known, _, _ in found])
        raise json_error(web.HTTPNotFound, self._missing)

    def has(self, method: str, path: str) -> bool:
        """Return whether there is a route for exactly this method; "*" does not count."""
        return any(known == method for known, _, _ in self._at(path))

    def knows(self, path: str) -> bool:
        """Return whether there is a route at this path, whatever the method."""
        return bool(self._at(path))

    def _at(self, path: str) -> list[tuple[str, Route, dict[str, str]]]:
        found = [(method, route, dict[str, str]()) for method, route in self._exact.get(path, {}).items()]
        for pattern, method, route in self._patterns:
            values = pattern.match(path)
            if values is not None:
                found.append((method, route, values))
        return found


def json_error(kind: type[web.HTTPException], message: str) -> web.HTTPException:
    """Return an error of aiohttp with JSON in the form of the API's own."""
    return kind(text=json.dumps({"Message": message}), content_type="application/json")


def not_allowed(method: str, allowed: list[str]) -> web.HTTPException:
    """Return a 405 with JSON, and with the methods that are allowed in its header."""
    text = json.dumps({"Message": f"The requested resource does not support http method '{method}'."})
    return web.HTTPMethodNotAllowed(method, allowed, text=text, content_type="application/json")


def preflight(request: web.Request) -> web.Response | None:
    """Return the answer to a browser's question before a request to another origin, None if it is not one."""
    wanted = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD)
    if request.method != hdrs.METH_OPTIONS or wanted is None or hdrs.ORIGIN not in request.headers:
        return None
    asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "")
    headers = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: wanted,
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: asked,  # `client_id` and `authorization` among them
        hdrs.ACCESS_CONTROL_MAX_AGE: _REMEMBERED,
    }
    return web.Response(status=204, headers=headers)


def allow_origin(response: web.StreamResponse) -> None:
    """Let a browser's page of another origin read an answer that is about to be sent."""
    response.headers.setdefault(hdrs.ACCESS_CONTROL_ALLOW_ORIGIN, "*")
    response.headers.setdefault(hdrs.ACCESS_CONTROL_EXPOSE_HEADERS, "Retry-After, WWW-Authenticate")
