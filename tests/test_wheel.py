"""The wheel, installed and run outside the source tree."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.store.embedded import stop_server
from tests.shop import AS_OF, write_shop_catalogue, write_shop_events


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(repository)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("recsys_engine-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with the wheel installed in `site`; its dependencies are taken from the tests' environment."""
    home = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--target", str(home / "site"), str(wheel)], check=True)
    copy_compiled_loops(repository, home / "site")
    yield home
    stop_server(home / "var" / "valkey")


def copy_compiled_loops(repository: Path, site: Path) -> None:
    """Copy the loops that numba compiled in the source tree; they belong to files of the same size and time."""
    for index in (repository / "recsys").rglob("__pycache__/*.nbi"):
        module = Path(*index.relative_to(repository).parts[:-2], f"{index.name.partition('.')[0]}.py")
        times = (repository / module).stat()
        os.utime(site / module, ns=(times.st_atime_ns, times.st_mtime_ns))
        cache = site / index.parent.relative_to(repository)
        cache.mkdir(exist_ok=True)
        for file in index.parent.glob(f"{index.stem}.*"):
            shutil.copy(file, cache)


def run(installed: Path, *command: str) -> str:
    """Run Python, or a command of the wheel, outside the source tree; returns its standard output."""
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")},
        "PYTHONPATH": os.pathsep.join([str(installed / "site"), sysconfig.get_paths()["purelib"]]),
        "RECSYS_SOURCES_PATHS": json.dumps([str(installed / "shop")]),
        "RECSYS_EVALUATION_VALIDATION_DAYS": "7",
        "RECSYS_EVALUATION_TEST_DAYS": "7",
        "RECSYS_MODELS": '["popularity", "item_knn"]',
        "RECSYS_SEARCH_MAX_TRIALS": "0",
    }
    program, *arguments = command
    path = sys.executable if program == "python" else str(installed / "site" / "bin" / program)
    done = subprocess.run(
        [path, *arguments],
        cwd=installed,
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_holds_the_four_packages_and_nothing_else(wheel: Path, repository: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"recsys", "features", "jobs", "serving"}
    for package in tops:
        data = [
            path for path in (repository / package).rglob("*") if path.suffix in (".html", ".css", ".toml", ".py")
        ]
        assert {str(path.relative_to(repository)) for path in data} <= set(names)


def test_it_runs_a_whole_night(installed: Path) -> None:
    where = run(installed, "python", "-c", "import jobs.cli.app, recsys; print(jobs.__file__, recsys.__file__)")
    assert all(path.startswith(str(installed / "site")) for path in where.split())

    (installed / "shop").mkdir()
    write_shop_events(installed / "shop" / "events.parquet", 40, 100)
    write_shop_catalogue(installed / "shop")
    manifest = json.loads(run(installed, "recsys", "nightly", "--as-of", AS_OF, "--json"))
    assert manifest["status"] == "complete"
    report = installed / "var" / "runs" / manifest["run_id"] / "report" / "report.html"
    assert "Recommendations report" in report.read_text()
    result = json.loads(run(installed, "recsys", "recommend", "user1", "--json"))
    assert result["source"] == "personal"
