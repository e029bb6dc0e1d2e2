"""Hosts and origins that requests may name: against DNS rebinding and forged requests of other pages."""

import re
from ipaddress import ip_address
from typing import Final

from recsys.server_checks import is_public
from recsys.settings import Serving
from recsys.settings.types import ANY
from serving.http.auth import AccessError
from serving.http.client_address import Headers

HOST: Final = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]*)?")
"""A name or an address, in brackets if it is of IPv6, and a port."""
MAX_CACHED: Final = 1_000
"""Values of the header `Host` that are looked up without being parsed: names, with any port."""


class HostList:
    """The hosts and origins that requests may name."""

    def __init__(self, serving: Serving) -> None:
        """Allow `serving.hosts`, loopback names and a loopback address that the server listens on."""
        self._hosts = {*serving.hosts, *(() if is_public(serving) else (serving.host.lower(),))}
        self._allows_any_host = ANY in serving.hosts
        self._allows_any_origin = ANY in serving.origins
        self._origins = frozenset(origin.encode() for origin in serving.origins)
        self._cache: set[bytes] = set()

    def check(self, headers: Headers) -> None:
        """Raise `AccessError` for a request to another host, or from a page of another origin."""
        host = origin = None
        for name, value in headers:
            if name == b"host":
                host = value if host is None else b""  # two names are none
            elif name == b"origin":
                origin = value
        if host not in self._cache and not self._allows_host(host or b""):
            raise AccessError(421, "the server has no such host: serving.hosts names those that it has", {})
        if origin is not None and not self._allows_origin(origin.lower(), host or b""):
            raise AccessError(403, "requests from pages of this origin are not allowed", {})

    def _allows_host(self, host: bytes) -> bool:
        if not (self._allows_any_host or self._is_listed(host)):
            return False
        if len(self._cache) < MAX_CACHED:
            self._cache.add(host)
        return True

    def _is_listed(self, host: bytes) -> bool:
        match = HOST.fullmatch(host.decode("latin-1").lower())
        if match is None:
            return False
        name = match[1].strip("[]").removesuffix(".")
        return name in self._hosts or _is_loopback(name)

    def _allows_origin(self, origin: bytes, host: bytes) -> bool:
        is_own = origin in (b"http://" + host.lower(), b"https://" + host.lower())
        return self._allows_any_origin or is_own or origin in self._origins


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
