"""A small shop, and the command run as a user would."""

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.commands import run_recsys
from tests.database_servers import DatabaseServer, mariadb_server, postgresql_server
from tests.shop import DAYS, write_shop_catalogue, write_shop_events

Recsys = Callable[..., subprocess.CompletedProcess[str]]

SHOP_SETTINGS = """
repeat = "{repeat}"
models = ["popularity", "item_knn", "repurchase"]
[evaluation]
validation_days = 14
test_days = 14
light_user_events = 5
[search]
max_trials = 0
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A directory with a hundred days of 80 shoppers, a catalogue, and attributes of users."""
    directory = tmp_path / "shop"
    directory.mkdir()
    write_shop_events(directory / "events.parquet", 0, DAYS)
    write_shop_catalogue(directory)
    return directory


@pytest.fixture
def write_settings(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the shop's recsys.toml for a `repeat` setting and returns its path."""

    def write(repeat: str) -> Path:
        path = tmp_path / f"{repeat}.toml"
        path.write_text(SHOP_SETTINGS.format(repeat=repeat))
        return path

    return write


@pytest.fixture
def recsys(tmp_path: Path, data_directory: Path) -> Recsys:
    """Runs the installed command in an empty directory, its data under `data_directory`."""

    def run(
        *arguments: str | Path, directory: Path = data_directory, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return run_recsys(tmp_path, directory, *arguments, **environment)

    return run


@pytest.fixture(scope="session")
def postgresql() -> Iterator[DatabaseServer]:
    """A real PostgreSQL for the session."""
    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[DatabaseServer]:
    """A real MariaDB for the session."""
    with mariadb_server() as server:
        yield server


@pytest.fixture
def sqlite(tmp_path: Path) -> DatabaseServer:
    """A new SQLite file."""
    file = tmp_path / "shop.db"

    def run(sql: str) -> None:
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(sql)

    run("")
    return DatabaseServer(f"sqlite:///{file}", 0, run)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database(request: pytest.FixtureRequest) -> DatabaseServer:
    """Each kind of database in turn."""
    return request.getfixturevalue(request.param)
