"""What the README tells a reader to type is true."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import redis
from pydantic import TypeAdapter

from jobs.cli.app import app
from jobs.ingest.mapping import check_table
from recsys.settings import Settings
from recsys.store.embedded import start_server
from recsys.store.keys import TRENDING, Keys, popular_name
from recsys.store.publish.publish import publish
from tests.commands import RECSYS


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    """Its text."""
    return (repository / "README.md").read_text()


def block(readme: str, language: str) -> str:
    """The first block of code in a language."""
    found = re.search(rf"```{language}\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_its_keys_are_the_code_s(readme: str) -> None:
    keys, version = Keys("recsys"), "<version>"
    for key in (
        keys.live,
        keys.user_items(version, "<user_id>"),
        keys.similar_items(version, "<item_id>"),
        keys.ranking(version, popular_name()),
        keys.ranking(version, popular_name("<category>")),
        keys.ranking(version, TRENDING),
        keys.versions,
    ):
        assert f"| `{key}` |" in readme


@pytest.fixture
def published(tmp_path: Path, data_directory: Path) -> redis.Redis:
    """A server with a list for the user `7` and a popular one."""
    server = start_server(data_directory / "valkey")
    lists = {
        "user_items": ("user_id", "7", ["a", "b", "c"]),
        "similar_items": ("item_id", "a", ["b"]),
        "popular": ("name", "popular", ["p", "q"]),
    }
    for name, (owner, owner_id, items) in lists.items():
        pl.DataFrame({owner: [owner_id], "items": [items]}).write_parquet(tmp_path / f"{name}.parquet")
    client = redis.Redis(server.host, server.port)
    publish(client, Keys("recsys"), "20180101T000000Z", tmp_path, 2)
    return client


def port_of(client: redis.Redis) -> int:
    return client.connection_pool.connection_kwargs["port"]


def test_its_python_finds_lists(readme: str, published: redis.Redis) -> None:
    code = block(readme, "python")
    assert "port=6399" in code
    recipe: dict[str, Any] = {}
    exec(code.replace("port=6399", f"port={port_of(published)}"), recipe)
    assert recipe["recommend"]("7", 2) == ["a", "b"]
    assert recipe["recommend"]("nobody") == ["p", "q"]
    published.delete("recsys:live")
    assert recipe["recommend"]("7") == []


NODE_MODULES = Path("/usr/share/nodejs")
"""Where Debian's packages put modules; its own Node finds them there, any other is told."""


@pytest.fixture
def node_directory(tmp_path: Path) -> Path:
    """A directory whose JavaScript finds Debian's `redis`."""
    if shutil.which("node") is None:
        pytest.skip("node is not on the PATH")
    if not (NODE_MODULES / "redis").is_dir():
        pytest.skip(f"the package node-redis is not in {NODE_MODULES}")
    modules = tmp_path / "node" / "node_modules"
    modules.mkdir(parents=True)
    (modules / "redis").symlink_to(NODE_MODULES / "redis")
    return modules.parent


def test_its_javascript_finds_lists(readme: str, published: redis.Redis, node_directory: Path) -> None:
    code = block(readme, "javascript")
    assert "127.0.0.1:6399" in code
    (node_directory / "recipe.mjs").write_text(code.replace(":6399", f":{port_of(published)}"))
    (node_directory / "use.mjs").write_text(
        'import { recommend } from "./recipe.mjs";\n'
        'console.log(JSON.stringify([await recommend("7", 2), await recommend("nobody")]));\n'
        "process.exit();\n"
    )

    def found() -> Any:
        done = subprocess.run(
            ["node", node_directory / "use.mjs"],
            env={**os.environ, "NODE_PATH": str(NODE_MODULES)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert found() == [["a", "b"], ["p", "q"]]
    published.delete("recsys:live")
    assert found() == [[], []]


def test_its_settings_are_settings(readme: str) -> None:
    settings = TypeAdapter(Settings).validate_python(tomllib.loads(block(readme, "toml")))
    for table in settings.sources.tables:
        check_table(table)


def test_its_schedule_is_the_default(readme: str) -> None:
    told = re.search(r"```toml\n(\[schedule\]\n.*?)```", readme, re.DOTALL)
    assert told is not None
    assert TypeAdapter(Settings).validate_python(tomllib.loads(told.group(1))) == Settings()


def test_its_commands_are_commands(readme: str) -> None:
    told = set(re.findall(r"`recsys ([a-z]+)", readme))
    listed = subprocess.run([RECSYS, "--help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^│ ([a-z]+) ", listed, re.MULTILINE))
    assert told <= known
    assert known - told <= {"demo"}
    assert len(app.registered_commands) + len(app.registered_groups) == len(known)
