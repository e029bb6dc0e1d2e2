"""A small shop, and the command run as a user would."""

import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import redis

from recsys.store.embedded import stop_server
from tests.commands import run_recsys
from tests.database_servers import DatabaseServer, mariadb_server, postgresql_server
from tests.shop import AS_OF, DAYS, write_shop_catalogue, write_shop_events

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
ranker_windows = 0
"""


DIVERSITY = {"allow": "0", "exclude": "0.5"}


@dataclass(frozen=True)
class FinishedNight:
    """A nightly run of the shop that tests read and do not change; its server runs until the session ends."""

    shop: Path
    settings: Path
    directory: Path
    """The data directory."""

    def copy(self, directory: Path) -> Path:
        """Copy the data directory, without the server's data, for a test that goes on with it."""
        return shutil.copytree(self.directory, directory, ignore=shutil.ignore_patterns("valkey"))

    def copy_lake(self, directory: Path) -> Path:
        """Copy the lake alone, as an ingest of the shop's files leaves it."""
        return shutil.copytree(self.directory / "lake", directory / "lake")


@pytest.fixture(scope="session")
def shop_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred days of 80 customers, a catalogue, and attributes of users, which tests do not change."""
    directory = tmp_path_factory.mktemp("shop_files") / "shop"
    directory.mkdir()
    write_shop_events(directory / "events.parquet", 0, DAYS)
    write_shop_catalogue(directory)
    return directory


@pytest.fixture
def shop(shop_files: Path, tmp_path: Path) -> Path:
    """A copy of the shop's files that a test may change."""
    return shutil.copytree(shop_files, tmp_path / "shop")


@pytest.fixture(scope="session")
def shop_lake(shop_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake after an ingest of the shop's files, which tests copy."""
    home = tmp_path_factory.mktemp("shop_lake")
    done = run_recsys(home, home, "ingest", shop_files)
    assert done.returncode == 0, done.stderr
    return home / "lake"


@pytest.fixture(scope="session")
def finished_night(
    shop_files: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], FinishedNight]]:
    """Returns the one nightly run of the session for a `repeat` setting."""
    home = tmp_path_factory.mktemp("nights")

    @cache
    def run(repeat: str) -> FinishedNight:
        settings = home / f"{repeat}.toml"
        settings.write_text(SHOP_SETTINGS.format(repeat=repeat))
        night = FinishedNight(shop_files, settings, home / repeat)
        done = run_recsys(
            home,
            night.directory,
            *("--config", settings, "nightly", shop_files, "--as-of", AS_OF),
            RECSYS_SERVING_DIVERSITY=DIVERSITY[repeat],
        )
        assert done.returncode == 0, done.stderr
        return night

    yield run
    for repeat in DIVERSITY:
        stop_server(home / repeat / "valkey")


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
    """Runs the command in an empty directory, its data under `data_directory`."""

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


@pytest.fixture
def valkey_url(valkey: redis.Redis) -> str:
    """The address of the shared Valkey, emptied before the test."""
    options = valkey.connection_pool.connection_kwargs
    return f"redis://{options['host']}:{options['port']}"
