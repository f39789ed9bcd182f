"""HTTP GET for URLs that strangers wrote: checked addresses, few redirects, a byte limit.

Addresses are checked where the connection is made, and the connection goes to the address that was checked: a name
that resolves differently a moment later (DNS rebinding), a redirect or an odd spelling of an address changes nothing.
No proxy is used, since a proxy would look the name up again.
"""

from collections.abc import Sequence

import httpcore

from qwenvl.api.media.addresses import is_public
from qwenvl.api.media.connecting import (
    CheckedBackend,
    CountingStream,
    FetchError,
    Resolve,
    ResponseTooLargeError,
    SystemResolver,
)
from qwenvl.api.media.urls import Domains, Target, UrlError

MAX_REDIRECTS = 3

_KEPT_CONNECTIONS = 16
_KEPT_SECONDS = 5.0

_HEADERS = (("User-Agent", "qwenvl"), ("Accept", "image/*"), ("Accept-Encoding", "identity"))
_REDIRECTS = (301, 302, 303, 307, 308)
_TRANSPORT_ERRORS = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    OSError,  # name resolution, TLS
    ValueError,  # certificates, lengths of thousands of digits
)

# Sizes and extensions of chunks, over the content itself.
_FRAMING_BYTES = 64 * 1024
# A body in pieces this small on average is made to keep the parser busy: a TCP segment holds a thousand bytes.
_LEAST_PIECE_BYTES = 128
_FREE_PIECES = 2048


class Fetcher:
    """Fetches URLs; keeps connections for the next time.

    Args:
        max_bytes: most bytes of one content.
        max_fetches: most fetches that are made at a time; the caller sees to it.
        domains: hosts to fetch from, as :class:`Domains` reads them; none for any.
        allow_private_addresses: connect to any address, not to public ones alone.
        resolve: looks names up; the default asks the system.
        network: makes connections to checked addresses; the default is TCP.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        max_fetches: int,
        domains: Sequence[str] = (),
        allow_private_addresses: bool = False,
        resolve: Resolve | None = None,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._max_bytes = max_bytes
        self._domains = Domains(domains)
        self._allow_private_addresses = allow_private_addresses
        self._system_resolver = SystemResolver(max_fetches)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpcore.default_ssl_context(),
            max_connections=max_fetches,
            max_keepalive_connections=_KEPT_CONNECTIONS,
            keepalive_expiry=_KEPT_SECONDS,
            network_backend=CheckedBackend(
                resolve or self._system_resolver,
                allow_private_addresses=allow_private_addresses,
                max_body_bytes=max_bytes + max_bytes // 8 + _FRAMING_BYTES,
                network=network,
            ),
        )

    def check(self, target: Target) -> None:
        """What can be told of a URL without a look at the network.

        Raises:
            UrlError: its host is not allowed.
        """
        if not self._domains.allow(target.host):
            raise UrlError("this server does not take images from the URL's host.")
        if not self._allow_private_addresses and target.address and not is_public(target.address):
            raise UrlError("the URL's host is not a public address.")

    async def get(self, target: Target) -> bytes:
        """The content at ``target``. The caller sets the deadline.

        Raises:
            UrlError: the target is refused before anything is looked up.
            ResponseTooLargeError: there is more than the limit.
            FetchError: anything else went wrong.
        """
        self.check(target)
        try:
            for _ in range(MAX_REDIRECTS + 1):
                found = await self._get_once(target)
                if isinstance(found, bytes):
                    return found
                target = self._follow(target, found)
        except _TRANSPORT_ERRORS as error:
            raise FetchError(type(error).__name__) from error
        raise FetchError(f"more than {MAX_REDIRECTS} redirects")

    async def aclose(self) -> None:
        self._system_resolver.close()
        await self._pool.aclose()

    def _follow(self, target: Target, location: str) -> Target:
        try:
            moved = target.join(location)
            self.check(moved)
        except UrlError as error:
            raise FetchError(f"redirected: {error}") from error
        return moved

    async def _get_once(self, target: Target) -> bytes | str:
        """The content, or where it has moved to."""
        url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        headers: list[tuple[bytes | str, bytes | str]] = [("Host", target.authority), *_HEADERS]
        async with self._pool.stream("GET", url, headers=headers) as response:
            fields = {name.lower(): value for name, value in response.headers}
            if response.status in _REDIRECTS and b"location" in fields:
                return fields[b"location"].decode()
            if response.status != 200:
                raise FetchError(f"status {response.status}")
            # It was not asked for; to decode it would need a limit of its own.
            if fields.get(b"content-encoding", b"identity").strip().lower() not in (b"", b"identity"):
                raise FetchError("the content is compressed")
            if (announced := fields.get(b"content-length", b"")).isdigit() and int(announced) > self._max_bytes:
                raise ResponseTooLargeError("more bytes announced than the limit")
            return await _read(response, self._max_bytes)


async def _read(response: httpcore.Response, max_bytes: int) -> bytes:
    connection = response.extensions["network_stream"]
    assert isinstance(connection, CountingStream)
    connection.begin_body()
    content = bytearray()
    pieces = 0
    async for piece in response.aiter_stream():
        content += piece
        pieces += 1
        if len(content) > max_bytes:
            raise ResponseTooLargeError("more bytes sent than the limit")
        if pieces > _FREE_PIECES + len(content) // _LEAST_PIECE_BYTES:
            raise FetchError("the content comes in too small pieces")
    return bytes(content)
