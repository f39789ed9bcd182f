"""Connections below HTTP: limits that uvicorn does not have."""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
"""Most bytes of a request's URL and headers, or of what follows its body."""

MAX_PIPELINED = 32
"""Most requests that one connection may send without waiting for answers."""

_TOO_LARGE = json.dumps(
    {
        "error": {
            "message": f"The request's URL and headers must have at most {MAX_HEAD_BYTES} bytes.",
            "type": "invalid_request_error",
            "param": None,
            "code": "headers_too_large",
        }
    }
).encode()


class LimitedConnection(HttpToolsProtocol):
    """uvicorn's connection, ended where it sends much that belongs to no body: a head, trailers, names of chunks.

    uvicorn keeps all of it, and its parser copies what it has of a long header again with each piece.

    When it is lost, all requests that came over it hear of it. uvicorn tells the latest alone, and those before it
    would be answered to nobody, with a traceback for each.
    """

    _bare_bytes = 0
    _got_on = False
    _cycles: tuple[Any, ...] = ()

    def data_received(self, data: bytes) -> None:
        """Take what came over the wire."""
        self._got_on = False
        super().data_received(data)
        self._bare_bytes = 0 if self._got_on else self._bare_bytes + len(data)
        if self._bare_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse()

    def on_headers_complete(self) -> None:
        self._got_on = True
        super().on_headers_complete()
        self._cycles = (*(cycle for cycle in self._cycles if not cycle.response_complete), self.cycle)
        if len(self._cycles) > MAX_PIPELINED:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        for cycle in self._cycles:
            cycle.disconnected = cycle.disconnected or not cycle.response_complete
            cycle.message_event.set()
        super().connection_lost(exc)

    def on_body(self, body: bytes) -> None:
        self._got_on = True
        super().on_body(body)

    def _refuse(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            head = (
                "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
                f"content-length: {len(_TOO_LARGE)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + _TOO_LARGE)
        self.transport.close()


class WithoutHeaders:
    """Connections whose next request has no complete headers yet, for which uvicorn waits for ever.

    Args:
        timeout: seconds that they may stay so.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._since: dict[Any, float] = {}

    def drop(self, connections: set[Any]) -> None:
        """End those among ``connections`` that have stayed so for too long; to be called now and then."""
        now = asyncio.get_running_loop().time()
        self._since = {
            connection: self._since.get(connection, now) for connection in connections if _awaits_headers(connection)
        }
        for connection, since in self._since.items():
            if now - since > self._timeout:
                connection.transport.abort()


def _awaits_headers(connection: Any) -> bool:
    """Whether neither a request is in work nor uvicorn's own timer for idle connections runs."""
    cycle = connection.cycle
    return cycle is None or (cycle.response_complete and connection.timeout_keep_alive_task is None)
