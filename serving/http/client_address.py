"""The address of the client behind a connection, which trusted proxies name."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

Headers = Iterable[tuple[bytes, bytes]]
IpNetwork = IPv4Network | IPv6Network

FORWARDED_FOR: Final = b"x-forwarded-for"


class ClientAddresses:
    """Finds the client of a request."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        """Believe the header `X-Forwarded-For` of the proxies of these networks only."""
        self._proxies = tuple(map(ip_network, trusted_proxies))

    def find(self, peer: str, headers: Headers) -> str:
        """Return the address of the client: the last one in the chain that is not of a trusted proxy.

        `peer` is the address of the connection, empty if it has none.
        """
        if not self._proxies or not self._is_proxy(peer):
            return peer
        values = [value.decode("latin-1") for name, value in headers if name == FORWARDED_FOR]
        for address in reversed([part.strip() for value in values for part in value.split(",")]):
            if not self._is_proxy(address):
                return address
        return peer

    def _is_proxy(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)
