"""Which addresses may be called: those of servers on the public internet, and in the sandbox loopback."""

import ipaddress
import socket
from collections.abc import Callable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]

# No public server has an address in these blocks: both IANA special-purpose registries (with the blocks that they call
# globally reachable, which are anycast services), multicast, and what RFC 3701 and RFC 7526 gave back.
_SPECIAL_V4 = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # RFC 791: this network
        "10.0.0.0/8",  # RFC 1918
        "100.64.0.0/10",  # RFC 6598: shared address space
        "127.0.0.0/8",  # RFC 1122: loopback
        "168.63.129.16/32",  # a cloud platform's own services, beside the link-local ones
        "169.254.0.0/16",  # RFC 3927: link local
        "172.16.0.0/12",  # RFC 1918
        "192.0.0.0/24",  # RFC 6890: protocol assignments, the dummy address and anycast among them
        "192.0.2.0/24",  # RFC 5737: documentation
        "192.31.196.0/24",  # RFC 7535: AS112
        "192.52.193.0/24",  # RFC 7450: multicast tunnelling
        "192.88.99.0/24",  # RFC 7526: deprecated 6to4 relays
        "192.168.0.0/16",  # RFC 1918
        "192.175.48.0/24",  # RFC 7534: AS112
        "198.18.0.0/15",  # RFC 2544: benchmarking
        "198.51.100.0/24",  # RFC 5737: documentation
        "203.0.113.0/24",  # RFC 5737: documentation
        "224.0.0.0/4",  # RFC 5771: multicast
        "240.0.0.0/4",  # RFC 1112, RFC 919: reserved, limited broadcast
    )
)
# RFC 4291 section 2.4, RFC 3513: all global unicast addresses so far. Site local, unique local, link local, discard-only,
# dummy, segment routing, IPv4-compatible and local translation addresses lie outside.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    ipaddress.IPv6Network(block)
    for block in (
        "2001::/23",  # RFC 2928: protocol assignments: Teredo, benchmarking, anycast, ORCHID, drones
        "2001:db8::/32",  # RFC 3849: documentation
        "2002::/16",  # RFC 7526: deprecated 6to4
        "2620:4f:8000::/48",  # RFC 7534: AS112
        "3ffe::/16",  # RFC 3701: returned
        "3fff::/20",  # RFC 9637: documentation
    )
)
# IPv6 addresses that stand for an IPv4 one: mapped (RFC 4291 section 2.5.5.2), translated (RFC 6052 section 2.1).
_OF_V4 = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))
_LOOPBACK = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))


def is_public(address: IPAddress) -> bool:
    """Return whether the address, or the IPv4 address that it stands for, can be that of a server on the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in _SPECIAL_V4)
    if any(address in block for block in _OF_V4):
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _GLOBAL_V6 and not any(address in block for block in _SPECIAL_V6)


def is_public_or_loopback(address: IPAddress) -> bool:
    """Return the same, with loopback allowed as well: the sandbox's rule."""
    return any(address in block for block in _LOOPBACK) or is_public(address)


def resolve(host: str, port: int) -> list[str]:
    """Return every address of a name, in the resolver's order. Raise OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
