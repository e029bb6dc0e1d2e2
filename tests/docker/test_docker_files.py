"""The Dockerfile and the compose file, as far as they can be checked without Docker."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.settings import ENVIRONMENT_PREFIX, Serving, load_settings
from tests.commands import run_recsys
from tests.docker.dockerfile import Stage

SCRIPTS = ("recsys.sh", "valkey.sh")


def ours(services: dict[str, Any]) -> dict[str, Any]:
    """The services that run `recsys`."""
    return {name: service for name, service in services.items() if service["image"] == "recsys"}


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
        "RECSYS_FORMER_PSEUDONYM_KEYS": '["former"]',
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
    assert load_settings(docker / "recsys.toml", {}).serving.hosts == ("api",)
    for service in ours(services).values():
        *_, host, user = service["entrypoint"]
        assert host in services
        assert user in {line.split()[1] for line in (docker / "redis-users.acl").read_text().splitlines()}


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
