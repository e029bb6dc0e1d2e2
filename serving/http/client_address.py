"""The address of the client behind a connection, which trusted proxies name."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

Headers = Iterable[tuple[bytes, bytes]]

FORWARDED_FOR: Final = b"x-forwarded-for"


class Networks:
    """A set of networks."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = tuple(map(ip_network, networks))

    def __contains__(self, address: str) -> bool:
        """Return whether an IP address, or an IPv4 address written as one of IPv6, is in one of the networks."""
        if not self._networks:
            return False
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks)


class ClientAddresses:
    """Finds the client of a request."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        """Believe the header `X-Forwarded-For` of the proxies of these networks only."""
        self._proxies = Networks(trusted_proxies)

    def find(self, peer: str, headers: Headers) -> str:
        """Return the address of the client: the last one in the chain that is not of a trusted proxy.

        `peer` is the address of the connection, empty if it has none.
        """
        if peer not in self._proxies:
            return peer
        values = [value.decode("latin-1") for name, value in headers if name == FORWARDED_FOR]
        for address in reversed([part.strip() for value in values for part in value.split(",")]):
            if address not in self._proxies:
                return address
        return peer
