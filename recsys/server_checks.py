"""What has to hold before a server listens: keys and host names for a public address, files that exist."""

from ipaddress import ip_address
from pathlib import Path

from recsys.api_key_file import KeyFile
from recsys.errors import ServingError
from recsys.settings import Serving, Settings


def check_server(settings: Settings) -> None:
    """Raise `ServingError` for a server that must not or cannot be started, in one line."""
    serving = settings.serving
    if is_public(serving):
        _check_public(settings)
    _check_files(serving)


def is_public(serving: Serving) -> bool:
    """Return whether other machines can reach the address that the server listens on."""
    try:
        return not ip_address(serving.host).is_loopback
    except ValueError:
        return serving.host != "localhost"


def _check_public(settings: Settings) -> None:
    host = settings.serving.host
    if not KeyFile.of(settings.directory).load_all():
        raise ServingError(
            f"serving.host = {host!r}: expected a loopback address while there are no API keys: "
            "create one with `recsys keys create NAME --scope recommend`"
        )
    if not settings.serving.hosts:
        raise ServingError(
            f"serving.host = {host!r}: serving.hosts is missing: name the hosts by which clients call the server, "
            'or allow any with ["*"]'
        )


def _check_files(serving: Serving) -> None:
    if (serving.tls_certificate is None) != (serving.tls_key is None):
        raise ServingError("serving.tls_certificate and serving.tls_key: expected both, or neither")
    for name in ("tls_certificate", "tls_key", "static_list"):
        file: Path | None = getattr(serving, name)
        if file is not None and not file.is_file():
            raise ServingError(f"serving.{name} = {str(file)!r}: there is no such file")
