"""Allowed networks, whose addresses are not counted: proxies, offices, monitoring."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

Networks = Sequence[IPv4Network | IPv6Network]


def parse_networks(texts: Sequence[str]) -> Networks:
    """Parse networks in CIDR notation, such as 10.0.0.0/8."""
    return [ip_network(text) for text in texts]


def is_within(ip: str, networks: Networks) -> bool:
    """Return whether an address lies in one of the networks; text that is not an address lies in none.

    >>> is_within("10.1.2.3", parse_networks(["10.0.0.0/8"])), is_within("unknown", parse_networks(["10.0.0.0/8"]))
    (True, False)
    """
    try:
        address = ip_address(ip)
    except ValueError:
        return False
    return any(address in network for network in networks)
