"""Which IP addresses lie outside: reachable by anyone, so that fetching from them reveals nothing of the inside."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# Addresses that a gateway turns into the IPv4 address they end in.
_WRAPPING_NETWORKS = (
    IPv6Network("::/96"),  # IPv4-compatible, deprecated
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated
    IPv6Network("64:ff9b::/96"),  # NAT64
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_RELAY_ANYCAST = IPv4Network("192.88.99.0/24")  # 6to4 relays, on one's own network where there are any
_PROTOCOL_ASSIGNMENTS = IPv4Network("192.0.0.0/24")
_DOCUMENTATION = IPv6Network("3fff::/20")  # Python before 3.12.4 takes it for global


def is_public(address: str) -> bool:
    """True for a unicast address of the public Internet, also where it is wrapped in an IPv6 address."""
    unwrapped = _unwrap(ip_address(address))
    if isinstance(unwrapped, IPv4Address):
        special = unwrapped in _RELAY_ANYCAST or unwrapped in _PROTOCOL_ASSIGNMENTS
    else:
        special = unwrapped not in _GLOBAL_UNICAST or unwrapped in _DOCUMENTATION
    return unwrapped.is_global and not unwrapped.is_multicast and not special


def _unwrap(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address.sixtofour is not None:
        return address.sixtofour
    if any(address in network for network in _WRAPPING_NETWORKS):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
