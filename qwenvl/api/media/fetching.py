"""HTTP GET for URLs that strangers wrote: checked addresses, few redirects, a byte limit.

Addresses are checked where the connection is made, and the connection goes to the address that was checked: a name
that resolves differently a moment later (DNS rebinding), a redirect or an odd spelling of an address changes nothing.
No proxy is used, since a proxy would look the name up again.
"""

import asyncio
import socket
from collections.abc import Iterable

import httpcore
import httpx

from qwenvl.api.media.addresses import is_public

MAX_REDIRECTS = 3
MAX_CONNECTIONS = 64

_HEADERS = (("User-Agent", "qwenvl"), ("Accept", "image/*"), ("Accept-Encoding", "identity"))
_REDIRECTS = (301, 302, 303, 307, 308)
_TRANSPORT_ERRORS = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    httpx.InvalidURL,
    OSError,  # name resolution, TLS
    ValueError,  # names that IDNA cannot write, lengths of thousands of digits
)


class FetchError(Exception):
    """The URL gave nothing. The message is for the log alone: it may tell of the inside."""


class ResponseTooLargeError(FetchError):
    """There is more at the URL than the limit allows."""


class Fetcher:
    """Fetches URLs; keeps connections for the next time.

    Args:
        allow_private_addresses: connect to any address, not to public ones alone.
    """

    def __init__(self, *, allow_private_addresses: bool) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpcore.default_ssl_context(),
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=5.0,
            network_backend=CheckedBackend(allow_private_addresses=allow_private_addresses),
        )

    async def get(self, url: str, *, max_bytes: int) -> bytes:
        """The content at ``url``. The caller sets the deadline.

        Raises:
            ResponseTooLargeError: it is longer than ``max_bytes``.
            FetchError: anything else went wrong.
        """
        try:
            target = httpx.URL(url)
            for _ in range(MAX_REDIRECTS + 1):
                found = await self._get_once(target, max_bytes)
                if isinstance(found, bytes):
                    return found
                target = target.join(found)
        except _TRANSPORT_ERRORS as error:
            raise FetchError(f"{type(error).__name__}: {error}") from error
        raise FetchError(f"more than {MAX_REDIRECTS} redirects")

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def _get_once(self, url: httpx.URL, max_bytes: int) -> bytes | str:
        """The content, or where it has moved to."""
        if url.scheme not in ("http", "https") or not url.host:
            raise FetchError(f"redirected to {url.scheme!r}")
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers: list[tuple[bytes | str, bytes | str]] = [("Host", url.netloc), *_HEADERS]
        async with self._pool.stream("GET", target, headers=headers) as response:
            fields = {name.lower(): value for name, value in response.headers}
            if response.status in _REDIRECTS and b"location" in fields:
                return fields[b"location"].decode("latin-1")
            if response.status != 200:
                raise FetchError(f"status {response.status}")
            return await _read(response, max_bytes, fields.get(b"content-length", b""))


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to the addresses of a host once all of them are known to be allowed."""

    def __init__(self, *, allow_private_addresses: bool) -> None:
        self._allow_private_addresses = allow_private_addresses
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = FetchError("the name has no address")
        for address in await self._resolve(host, port):
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)

    async def _resolve(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # IPv4 first: a network that drops IPv6 silently would use up the deadline.
        found.sort(key=lambda entry: entry[0] is not socket.AF_INET)
        addresses = [str(entry[4][0]) for entry in found]
        if not self._allow_private_addresses and not all(is_public(address) for address in addresses):
            raise FetchError("the host has an address that is not public")
        return addresses


async def _read(response: httpcore.Response, max_bytes: int, announced: bytes) -> bytes:
    if announced.isdigit() and int(announced) > max_bytes:
        raise ResponseTooLargeError(f"{int(announced)} bytes announced")
    content = bytearray()
    async for chunk in response.aiter_stream():
        content += chunk
        if len(content) > max_bytes:
            raise ResponseTooLargeError(f"more than {max_bytes} bytes sent")
    return bytes(content)
