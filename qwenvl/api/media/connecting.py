"""Connections for fetching: names looked up once, addresses checked, bytes counted."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpcore

from qwenvl.api.media.addresses import is_public

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host name, for a connection to a port."""

CONNECT_TIMEOUT = 3.0
"""Seconds for one address of a host: a dead one must not use up the time that is left for the others."""

MAX_ADDRESSES = 8

HEAD_BYTES = 64 * 1024
"""Most bytes of a response's head, informational responses before it included."""

_READ_BYTES = 16 * 1024


class FetchError(Exception):
    """The URL gave nothing. The message is for the log: it may tell of the inside, and holds nothing of the URL."""


class ResponseTooLargeError(FetchError):
    """There is more at the URL than the limit allows."""


class SystemResolver:
    """The system's name resolution.

    It cannot be interrupted, so it has threads of its own: lookups that hang must hold up nothing else, and the event
    loop's own threads are few and shared.

    Args:
        threads: lookups at a time.
    """

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "lookup")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a host; ``OSError`` where there are none."""
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [str(entry[4][0]) for entry in found]

    def close(self) -> None:
        """Wait for no lookup that still hangs."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to the addresses of a host once all of them are known to be allowed.

    Args:
        resolve: looks names up; asked once for each connection.
        allow_private_addresses: connect to any address, not to public ones alone.
        max_body_bytes: most bytes of a response after its head, as they come over the wire.
        network: makes the connections.
    """

    def __init__(
        self,
        resolve: Resolve,
        *,
        allow_private_addresses: bool,
        max_body_bytes: int,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._resolve = resolve
        self._allow_private_addresses = allow_private_addresses
        self._max_body_bytes = max_body_bytes
        self._network = network or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = FetchError("the name has no address")
        for address in await self._addresses(host, port):
            try:
                stream = await self._network.connect_tcp(address, port, CONNECT_TIMEOUT, local_address, socket_options)
                return CountingStream(stream, self._max_body_bytes)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[str]:
        found = [host] if _is_address(host) else list(dict.fromkeys(await self._resolve(host, port)))
        if not self._allow_private_addresses and not all(is_public(address) for address in found):
            raise FetchError("the host has an address that is not public")
        # IPv4 first: a network that drops IPv6 silently would use up the deadline.
        return sorted(found, key=lambda address: ":" in address)[:MAX_ADDRESSES]


class CountingStream(httpcore.AsyncNetworkStream):
    """A connection that takes so many bytes of a response and no more.

    The HTTP parser has limits of its own, but none on how many informational responses, chunks and chunk extensions it
    works through, and it does so without a pause.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream, max_body_bytes: int) -> None:
        self._stream = stream
        self._max_body_bytes = max_body_bytes
        self._begin_head()

    def begin_body(self) -> None:
        """The head is complete: what follows is counted anew."""
        self._left = self._max_body_bytes
        self._in_head = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        content = await self._stream.read(min(max_bytes, _READ_BYTES), timeout)
        self._left -= len(content)
        if self._left < 0:
            raise FetchError("the head is too long") if self._in_head else ResponseTooLargeError("too much on the wire")
        return content

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._begin_head()
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        secured = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        return CountingStream(secured, self._max_body_bytes)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _begin_head(self) -> None:
        self._left = HEAD_BYTES
        self._in_head = True


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
