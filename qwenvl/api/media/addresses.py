"""Which IP addresses lie outside: reachable by anyone, so that fetching from them reveals nothing of the inside.

The lists are IANA's special-purpose registries, written out: Python's own ``is_global`` differs between its versions,
and holds several of these for global.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_INNER_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; Alibaba's metadata at 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host, metadata and name server, at an address that looks public
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata at 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112, AMT, AS112 and 6to4: anycast, on one's own network where there are any
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.175.48.0/24",
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)

# All of global unicast that is in use. Outside of it lie loopback, the wrapped IPv4 addresses (::/96, ::ffff:0:0:0/96),
# local NAT64 (64:ff9b:1::/48), discard, segment routing, unique local (the metadata of AWS and Google), link-local,
# site-local and multicast addresses.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_INNER_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, which ends in an IPv4 address, benchmarks, AMT, AS112, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: ends in an IPv4 address, by a relay of one's own network
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)

# Names for an IPv4 address: the kernel connects to it, or the network's NAT64 gateway does.
_IPV4_IN_IPV6 = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))

# ISATAP's interface ids: the rest is an IPv4 address of one's own site.
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


def is_public(address: str) -> bool:
    """True for a unicast address of the public Internet, also where it is an IPv4 address in IPv6's clothes.

    What is no address, or has a zone (``fe80::1%eth0``), is not public.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _is_public_ipv4(parsed)
    if parsed.scope_id is not None:
        return False
    if any(parsed in network for network in _IPV4_IN_IPV6):
        return _is_public_ipv4(IPv4Address(int(parsed) & 0xFFFF_FFFF))
    return _is_public_ipv6(parsed)


def _is_public_ipv4(address: IPv4Address) -> bool:
    return not any(address in network for network in _INNER_IPV4)


def _is_public_ipv6(address: IPv6Address) -> bool:
    if address not in _GLOBAL_UNICAST or any(address in network for network in _INNER_IPV6):
        return False
    return (int(address) >> 32) & 0xFFFF_FFFF not in _ISATAP
