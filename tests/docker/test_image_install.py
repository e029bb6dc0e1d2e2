"""The image's install, made line by line as its Dockerfile says, serves."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from recsys.settings import Serving
from recsys.store.embedded import stop_server
from tests.docker.dockerfile import Stage
from tests.docker.servers import free_port, mapped, wait_for_port


@pytest.fixture(scope="module")
def installed(stages: list[Stage], repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of the build stage, run line by line in a new directory: an environment with recsys in it.

    pip would download the constraints' versions of all dependencies, half a gigabyte. The tests' environment was
    installed with the same constraints, so those that recsys declares, and theirs, are linked from there; and so is
    pip, which takes longer to install than all else.
    """
    home = tmp_path_factory.mktemp("image")
    build = stages[0]
    source = home / build.only("WORKDIR").text.lstrip("/")
    source.mkdir()
    arguments = dict(each.text.split("=", 1) for each in build.all("ARG"))
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {
        "PATH": f"{Path(sys.executable).resolve().parent}{os.pathsep}{environment['PATH']}",
        **arguments,
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # as for every "no-" option of pip, 0 means what the option's name says
        "PIP_NO_COMPILE": "1",
    }
    for each in build.instructions:
        if each.name == "COPY":
            *copied, target = each.words
            for name in copied:
                put(repository / name, source / target if target != "./" else source / name)
        elif each.name == "RUN":
            line = mapped(each.text, {"/opt/": f"{shlex.quote(str(home))}/", "-m venv ": "-m venv --without-pip "})
            done = subprocess.run(line, shell=True, cwd=source, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            (packages,) = (home / "recsys" / "lib").glob("python*/site-packages")
            for dependency in [
                distribution("pip"),
                distribution("hatchling"),
                *declared_dependencies("hatchling", []),
            ]:
                link_distribution(dependency, packages)
    (packages,) = (home / "recsys" / "lib").glob("python*/site-packages")
    for dependency in declared_dependencies("recsys-engine", arguments["EXTRAS"].split(",")):
        link_distribution(dependency, packages)
    return home / "recsys"


def declared_dependencies(name: str, extras: list[str]) -> list[Distribution]:
    """Everything that a distribution of the tests' environment, with extras, depends on, directly or not."""
    result: dict[str, Distribution] = {}
    pending = [(name, ("", *extras))]
    seen = set(pending)
    while pending:
        parent, parent_extras = pending.pop()
        for line in distribution(parent).requires or []:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in parent_extras):
                continue
            child = (canonicalize_name(requirement.name), ("", *sorted(requirement.extras)))
            result[child[0]] = distribution(child[0])
            if child not in seen:
                seen.add(child)
                pending.append(child)
    return list(result.values())


def link_distribution(installed_distribution: Distribution, packages: Path) -> None:
    """Link the top-level files and folders of a distribution into a folder of packages."""
    for top in {file.parts[0] for file in installed_distribution.files or [] if file.parts[0] != ".."}:
        target = packages / top
        if not target.exists():
            target.symlink_to(Path(str(installed_distribution.locate_file(top))))


def test_the_constraints_pin_every_dependency_of_the_image(repository: Path, stages: list[Stage]) -> None:
    extras = dict(each.text.split("=", 1) for each in stages[0].all("ARG"))["EXTRAS"].split(",")
    lines = (repository / "constraints.txt").read_text().splitlines()
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    for dependency in declared_dependencies("recsys-engine", extras):
        assert pins[canonicalize_name(dependency.name)] == dependency.version


def put(result: Path, target: Path) -> None:
    if result.is_dir():
        shutil.copytree(result, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(result, target)


def test_the_image_s_install_serves_and_its_healthcheck_sees_it(
    installed: Path,
    docker: Path,
    stages: list[Stage],
    services: dict[str, Any],
    compose_valkey: tuple[int, Path],
    tmp_path: Path,
) -> None:
    valkey_port, secrets = compose_valkey
    port, image = free_port(), stages[1]
    environment = {
        "PATH": f"{installed / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "RECSYS_DIRECTORY": str(tmp_path),
        "RECSYS_SETTINGS_FILE": str(docker / "recsys.toml"),
    }

    def command_of(service: dict[str, Any]) -> list[str]:
        *script, host, user = service["entrypoint"]
        assert host == "valkey"
        places = {"/etc/recsys": str(docker), "/run/recsys": str(secrets), ":6379/": f":{valkey_port}/"}
        started = [mapped(word, places) for word in script]
        started[1] = str(with_port(Path(started[1]), tmp_path, valkey_port))
        return [*started, "127.0.0.1", user, *service["command"]]

    made = subprocess.run(command_of(services["keys"]), env=environment, capture_output=True, text=True)
    assert made.stdout.startswith("rk_compose_"), made.stderr
    again = subprocess.run(command_of(services["keys"]), env=environment, capture_output=True, text=True)
    assert (again.returncode, again.stdout) == (0, "")

    healthcheck = image.only("HEALTHCHECK").text.partition("CMD ")[2].replace(f":{Serving().port}/", f":{port}/")
    check = yaml.safe_load(healthcheck)
    assert subprocess.run(check, env=environment, capture_output=True).returncode != 0
    server = subprocess.Popen([*command_of(services["api"]), "--port", str(port)], env=environment, cwd=tmp_path)
    try:
        wait_for_port(port, server)
        subprocess.run(check, env=environment, check=True)
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        stop_server(tmp_path / "valkey")
    assert urlsplit(check[-1]).path


def with_port(script: Path, directory: Path, port: int) -> Path:
    """The script for a Valkey on another port."""
    changed = directory / script.name
    changed.write_text(script.read_text().replace(":6379/", f":{port}/"))
    return changed
