"""Puts an answer on the wire, whole or broken as a fault wants it."""

import json
from typing import cast

from aiohttp import hdrs, web
from multidict import CIMultiDict

from ._faults import Cut, Fault
from ._notes import NOTE

_CHUNK = b" " * 65_536


class Dropped(web.Response):
    """What aiohttp is given to close a request with when nothing of it can be sent any more."""


async def deliver(request: web.Request, fault: Fault, own: web.StreamResponse | None) -> web.StreamResponse:
    """Send what `fault` makes of the service's `own` answer, which is None when the request was not processed."""
    if fault.cut is Cut.DROP:
        return _drop(request)
    if fault.size:
        return await _stream_filler(request, fault)
    response = own if fault.status is None and own is not None else _invented(fault)
    if isinstance(response, web.Response) and (fault.members or fault.without):
        response = _altered(response, fault)
    if isinstance(response, web.Response) and fault.cut is Cut.TRUNCATE:
        return await _truncate(request, response)
    return response


def _invented(fault: Fault) -> web.Response:
    body = fault.body.encode() if isinstance(fault.body, str) else fault.body
    headers = CIMultiDict({hdrs.CONTENT_TYPE: fault.content_type})
    headers.update(fault.headers)
    return web.Response(status=fault.status or 200, body=body, headers=headers)


def _altered(response: web.Response, fault: Fault) -> web.Response:
    try:
        members = json.loads(response.text or "{}")
    except ValueError:
        members = None
    if not isinstance(members, dict):
        NOTE.get().remark = "the fault changes members of a JSON object, and this answer is none"
        return web.json_response({"Message": f"Emulator: {NOTE.get().remark}."}, status=500)
    changed = {**cast(dict[str, object], members), **fault.members}
    response.text = json.dumps({name: value for name, value in changed.items() if name not in fault.without})
    return response


def _drop(request: web.Request) -> Dropped:
    if request.transport is not None:
        request.transport.abort()
    return Dropped()


async def _truncate(request: web.Request, whole: web.Response) -> web.StreamResponse:
    body = whole.body if isinstance(whole.body, bytes) else b""
    response = web.StreamResponse(status=whole.status, headers=whole.headers)
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()  # after what is buffered
    return response


async def _stream_filler(request: web.Request, fault: Fault) -> web.StreamResponse:
    response = web.StreamResponse(status=fault.status or 200, headers={hdrs.CONTENT_TYPE: fault.content_type})
    response.content_length = fault.size
    await response.prepare(request)
    for sent in range(0, fault.size, len(_CHUNK)):
        await response.write(_CHUNK[: fault.size - sent])
    return response
