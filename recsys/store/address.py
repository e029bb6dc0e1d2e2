"""Where Redis is and how to log in: the `redis` settings, parsed once for the redis-py and the asyncio client."""

# redis-py's parser of addresses has loose types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from redis.connection import parse_url

from recsys.errors import StoreError
from recsys.settings.online import Redis

Mode = Literal["server", "sentinel", "cluster"]

DEFAULT_PORT: Final = 6379
SENTINEL_PORT: Final = 26_379
TLS_OPTIONS: Final = {"tls_ca": "ssl_ca_certs", "tls_certificate": "ssl_certfile", "tls_key": "ssl_keyfile"}
"""Field of the settings -> the option of redis-py."""
LOCATION_OPTIONS: Final = ("host", "port", "path", "db", "connection_class")


@dataclass(frozen=True)
class Endpoint:
    """One server, and how to log in to it."""

    host: str = ""
    port: int = 0
    path: str = ""
    """Path of a UNIX socket, in place of host and port."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        """Return host and port, or the path, without credentials."""
        return self.path or f"{self.host}:{self.port}"


@dataclass(frozen=True)
class RedisAddress:
    """The servers that `redis.url` names: one server, the Sentinels of a primary, or nodes of a Cluster."""

    mode: Mode
    endpoints: tuple[Endpoint, ...]
    urls: tuple[str, ...] = field(repr=False)
    """One address per endpoint, as redis-py reads it."""
    sentinel: str | None = None
    """Name of the primary as the Sentinels know it."""
    tls_options: tuple[tuple[str, str], ...] = ()
    """Options of redis-py and the files they name."""

    @classmethod
    def from_settings(cls, settings: Redis) -> "RedisAddress":
        """Parse `settings.url`; raises `StoreError`, without the address, which may hold a password."""
        check_redis_settings(settings)
        if settings.url is None:
            raise StoreError("redis.url: expected an address: `recsys serve` sets that of the embedded server")
        mode = "cluster" if settings.cluster else "server" if settings.sentinel is None else "sentinel"
        try:
            urls = _split_hosts(settings.url, mode)
            port = SENTINEL_PORT if mode == "sentinel" else DEFAULT_PORT
            endpoints = [_parse_endpoint(url, port) for url in urls]
        except ValueError:
            # The text of the error may hold a part of the password.
            raise StoreError(
                "redis.url = (not shown): expected a redis://, rediss:// or unix:// address, with several hosts "
                "only for Sentinels or a Cluster"
            ) from None
        if settings.url.startswith("rediss://"):
            tls = _load_tls(settings)
            endpoints = [replace(endpoint, tls=tls) for endpoint in endpoints]
        files = {option: getattr(settings, name) for name, option in TLS_OPTIONS.items()}
        tls_options = tuple((option, str(file)) for option, file in files.items() if file is not None)
        return cls(mode, tuple(endpoints), tuple(urls), settings.sentinel, tls_options)

    def login_options(self, timeout: float) -> dict[str, Any]:
        """Return how redis-py connects and logs in to any of the servers, with a timeout in seconds."""
        endpoint = self.endpoints[0]
        parsed = _parse_options(self.urls[0])
        options = {name: value for name, value in parsed.items() if name not in LOCATION_OPTIONS}
        options |= {"username": endpoint.username, "password": endpoint.password}
        options |= {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        return options | ({"ssl": True, **dict(self.tls_options)} if endpoint.tls is not None else {})


def check_redis_settings(settings: Redis) -> None:
    """Raise `StoreError` for settings that exclude or need each other, and for a file that does not exist."""
    if settings.sentinel is not None and settings.cluster:
        raise StoreError("redis.sentinel: expected none with redis.cluster = true: a Cluster has no Sentinels")
    if settings.sentinel is not None and settings.url is None:
        raise StoreError("redis.sentinel: expected redis.url to name the Sentinels")
    if settings.tls_key is not None and settings.tls_certificate is None:
        raise StoreError("redis.tls_key: expected redis.tls_certificate with it")
    for name in TLS_OPTIONS:
        file: Path | None = getattr(settings, name)
        if file is not None and not (settings.url or "").startswith("rediss://"):
            raise StoreError(f"redis.{name}: expected redis.url to be a rediss:// address")
        if file is not None and not file.is_file():
            raise StoreError(f"redis.{name} = {file}: there is no such file")


def _split_hosts(url: str, mode: Mode) -> list[str]:
    """Return one address per host. Raises `ValueError` for hosts that the mode does not have."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        if mode != "server":
            raise ValueError
        return [url]
    credentials, at, hosts = parts.netloc.rpartition("@")
    urls = [parts._replace(netloc=f"{credentials}{at}{host}").geturl() for host in hosts.split(",")]
    if len(urls) > 1 and mode == "server":
        raise ValueError
    return urls


def _parse_endpoint(url: str, default_port: int) -> Endpoint:
    options = _parse_options(url)
    if "path" not in options and "db" not in options:
        options["db"] = int(urlsplit(url).path.strip("/") or 0)
    login = Endpoint(
        username=options.get("username"), password=options.get("password"), database=options.get("db", 0)
    )
    if "path" in options:
        return replace(login, path=options["path"])
    return replace(login, host=options.get("host", "localhost"), port=options.get("port", default_port))


def _parse_options(url: str) -> dict[str, Any]:
    """Return an address as the options of redis-py."""
    options: Any = parse_url(url)
    return options


def _load_tls(settings: Redis) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if settings.tls_ca is None else str(settings.tls_ca))
        if settings.tls_certificate is not None:
            context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as error:
        raise StoreError(f"redis.tls_ca, tls_certificate, tls_key: cannot be loaded: {error}") from None
    return context
