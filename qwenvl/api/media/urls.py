"""URLs that strangers wrote, read in one strict way.

Parsers differ on what an odd URL means, and attacks live on the difference: whatever can be read in two ways is
refused. The host that is checked is, letter by letter, the host that is looked up, connected to and named to TLS.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import quote, urljoin

MAX_URL_LENGTH = 8192

DEFAULT_PORTS = {"http": 80, "https": 443}

_FIRST_USER_PORT = 1024
# Of the ports that browsers refuse (the Fetch standard's "bad ports"), those from 1024 on.
_BAD_PORTS = frozenset(
    (1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080)
)

_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]{0,5}))?")
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


class UrlError(Exception):
    """The URL is refused as it is written. The message is for the client: it tells only of the URL."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that can be read in one way only.

    Args:
        scheme: ``http`` or ``https``.
        host: a name in lower case without a trailing dot, or an IP address in its usual spelling, without brackets.
        port: of the URL or the scheme.
        path: path and query, in ASCII.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port as the ``Host`` header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def address(self) -> str | None:
        """The host where it is an IP address."""
        try:
            ip_address(self.host)
        except ValueError:
            return None
        return self.host

    def join(self, location: str) -> "Target":
        """Where a redirect leads.

        Raises:
            UrlError: to no place that is allowed, or from https to http.
        """
        _check_letters(location)
        if _SCHEME.match(location):
            target = read_url(location)
        elif location.startswith("//"):
            target = read_url(f"{self.scheme}:{location}")
        else:
            target = read_url(urljoin(f"{self.scheme}://{self.authority}{self.path}", location))
        if self.scheme == "https" and target.scheme == "http":
            raise UrlError("it must not lead from https to http.")
        return target


def read_url(url: str) -> Target:
    """Read an http or https URL; nothing is looked up.

    Raises:
        UrlError: it is malformed, ambiguous, or names something other than a web server.
    """
    if len(url) > MAX_URL_LENGTH:
        raise UrlError(f"the URL must have at most {MAX_URL_LENGTH} characters.")
    _check_letters(url)
    parts = _URL.match(url)
    if parts is None:
        raise UrlError("the URL must begin with http:// or https:// and a host.")
    scheme, authority, path = parts[1].lower(), parts[2], parts[3]
    if "@" in authority:
        raise UrlError("the URL must not have a user name or password.")
    host_and_port = _AUTHORITY.fullmatch(authority)
    if host_and_port is None:
        raise UrlError("the URL's host and port are malformed.")
    host, port = _read_host(host_and_port[1]), _read_port(host_and_port[2], scheme)
    # What is encoded already stays as it is: signatures cover it.
    return Target(scheme, host, port, quote(path if path.startswith("/") else f"/{path}", safe=_VISIBLE))


def _check_letters(url: str) -> None:
    # Also refuses lone surrogates and letters that change the direction of text.
    if not url.isprintable() or any(letter.isspace() or letter == "\\" for letter in url):
        raise UrlError("the URL must have no spaces, control characters or backslashes; write a space as %20.")


def _read_host(written: str) -> str:
    if written.startswith("["):
        return _read_ipv6(written[1:-1])
    if not written.isascii():
        raise UrlError("the URL's host must be in ASCII; write other names in their xn-- form.")
    host = written.lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlError("the URL's host is malformed.")
    return _read_ipv4(host) if _NUMBER.fullmatch(labels[-1]) else host


def _read_ipv4(host: str) -> str:
    """Resolvers take 2130706433, 0x7f.1 and 0177.0.0.1 for 127.0.0.1; not all of them."""
    try:
        return str(IPv4Address(host))
    except ValueError:
        raise UrlError("the URL's host must be a name, or an IPv4 address of four decimal numbers.") from None


def _read_ipv6(host: str) -> str:
    try:
        address = IPv6Address(host)
    except ValueError:
        raise UrlError("the URL's host is not an IPv6 address.") from None
    if address.scope_id is not None:
        raise UrlError("the URL's host must be an IPv6 address without a zone.")
    return str(address)


def _read_port(written: str | None, scheme: str) -> int:
    port = int(written) if written else DEFAULT_PORTS[scheme]
    if port in DEFAULT_PORTS.values() or (_FIRST_USER_PORT <= port <= 65535 and port not in _BAD_PORTS):
        return port
    raise UrlError(f"the URL's port must be 80, 443, or a port from {_FIRST_USER_PORT} on that web servers use.")


class Domains:
    """Hosts that images may come from.

    Args:
        entries: ``example.com`` for this host alone, ``*.example.com`` or ``.example.com`` for every name below it.
            With none, any host is allowed.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        names = [entry.lower().removeprefix("*").removesuffix(".") for entry in entries]
        self._hosts = frozenset(_usual_spelling(name) for name in names if not name.startswith("."))
        self._suffixes = tuple(name for name in names if name.startswith("."))

    def allow(self, host: str) -> bool:
        if not self._hosts and not self._suffixes:
            return True
        return host in self._hosts or host.endswith(self._suffixes)


def _usual_spelling(host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        return host
