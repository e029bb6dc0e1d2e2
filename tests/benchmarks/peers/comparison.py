"""implicit, RecTools and LensKit compared with our models: the same split, the same run, one table.

Each model of a library is fitted, and ranks all items except those a user has, by the library's own code in a
separate process, limited to 15 minutes and 16 GB, or to the free memory. Its lists are written as a Parquet table
and measured by our metrics. Our models are run by `recsys benchmark`, also in separate processes. The history is
converted to the library's format before the clock starts. Settings other than the library's defaults are in the
name of the model; where a default is far below what the library can do, a second row has one more setting.

RecTools and LensKit need other versions of our dependencies, so each has its own environment under
`.benchmarks`, made from `requirements-<peer>.txt`; implicit is among our own dependencies.
"""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

from jobs.experiments.benchmark import Protocol
from tests.benchmarks.peers.evaluation import PeerEvaluation, UnusableListsError
from tests.benchmarks.peers.task import COSTS, LISTS
from tests.benchmarks.watch import watch

SHARED: Final = Path(__file__).parents[4] / "shared" / "data"
ENVIRONMENTS: Final = Path(".benchmarks")
RECSYS: Final = Path(sys.executable).with_name("recsys")
OURS: Final = ("auto", "light_gcn", "bspm", "ease", "ials", "als", "item_knn", "bpr", "popularity")
OWN_ENVIRONMENT: Final = ("RecTools", "LensKit")
MAX_BYTES: Final = 16 * 2**30  # the limit of our own `auto`
MAX_SECONDS: Final = 15 * 60.0
RESERVED_BYTES: Final = 2**30  # left for other programs
COLUMNS: Final = ("fit_seconds", "recommend_seconds", "peak_memory_mb")


@dataclass(frozen=True)
class PublicSplit:
    """A public data set with its usual protocol."""

    name: str
    title: str
    k: int
    protocol: Protocol


SPLITS: Final = (
    PublicSplit("gowalla", "Gowalla", 20, "holdout"),
    PublicSplit("beauty", "Amazon Beauty, last item", 10, "last-item"),
)


def peers(work: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A table a split, and its figures by library and model."""
    pythons = {"implicit": Path(sys.executable)} | {
        peer: python for peer in OWN_ENVIRONMENT if (python := install(peer)) is not None
    }
    for split in SPLITS:
        if not (SHARED / split.name).is_dir():
            print(f"\nno {split.name} at {SHARED}: left out")
            continue
        yield split.title, _compare(work / f"peers-{split.name}", split, pythons)


def install(peer: str) -> Path | None:
    """The interpreter of the peer's environment, which is made where it is missing or has other requirements.

    None, and a line that says why, where it cannot be made.
    """
    directory = ENVIRONMENTS / f"venv-{peer.lower()}"
    requirements = Path(__file__).parents[1] / f"requirements-{peer.lower()}.txt"
    python, installed = (directory / "bin" / "python").absolute(), directory / "installed.txt"
    if installed.exists() and installed.read_text() == requirements.read_text():
        return python
    venv.create(directory, clear=True, symlinks=True, with_pip=True)
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
        str(requirements),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"\n{peer} is left out: {(done.stderr.strip().splitlines() or ['pip failed'])[-1]}", flush=True)
        return None
    installed.write_text(requirements.read_text())
    return python


def _compare(work: Path, split: PublicSplit, pythons: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """All models of all libraries on one split, printed as a table."""
    work.mkdir(parents=True)
    metrics = (f"recall@{split.k}", f"ndcg@{split.k}")
    titles = ("library", "model", f"Recall@{split.k}", f"NDCG@{split.k}", "fit s", "rank s", "peak MB")
    print(f"\n{split.title}, @{split.k}, new items only\n\n| {' | '.join(titles)} |\n|{' --- |' * len(titles)}")
    figures: dict[str, dict[str, Any]] = {}
    for library, model, measured in chain(_ours(work, split), _theirs(work, split, pythons)):
        figures.setdefault(library, {})[model] = measured
        if "failed" in measured:
            print(f"| {library} | {model} | {measured['failed']} | | | | |", flush=True)
            continue
        accuracy = [f"{measured[metric]:.4f}" for metric in metrics]
        costs = [f"{measured[cost]:,.1f}" for cost in COLUMNS]
        print(f"| {' | '.join([library, model, *accuracy, *costs])} |", flush=True)
    return figures


def _ours(work: Path, split: PublicSplit) -> Iterator[tuple[str, str, dict[str, Any]]]:
    out = work / "ours.json"
    chosen = [part for model in OURS for part in ("--model", model)]
    options = ["--k", str(split.k), "--protocol", split.protocol, "--repeat", "exclude", "--json", str(out)]
    command = [str(RECSYS), "benchmark", str(SHARED / split.name), *chosen, *options]
    environment = os.environ | {"RECSYS_DIRECTORY": str(work)}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    figures = json.loads(out.read_text())["models"]
    for model in OURS:
        yield "ours", f"auto ({figures[model]['chosen']})" if model == "auto" else model, figures[model]


def _theirs(work: Path, split: PublicSplit, pythons: dict[str, Path]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    evaluation = PeerEvaluation.read(SHARED / split.name, split.k, split.protocol)
    evaluation.write_task(work)
    for peer, python in pythons.items():
        script = [str(python), "-m", f"tests.benchmarks.peers.{peer.lower()}"]
        names = subprocess.run(script, check=True, capture_output=True, text=True).stdout.splitlines()
        for name in names:
            yield peer, name, _measure([*script, str(work), name, str(split.k)], work, name, evaluation)


def _measure(command: list[str], work: Path, name: str, evaluation: PeerEvaluation) -> dict[str, Any]:
    """Measure the costs of a library's model and its lists, or return why it failed."""
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}  # not our concern
    watched = watch(command, environment, min(MAX_BYTES, _free_bytes()), MAX_SECONDS)
    if watched.failed:
        return {"failed": watched.failed, "seconds": watched.seconds, "peak_memory_mb": watched.peak_bytes / 2**20}
    try:
        metrics = evaluation.measure(name, work / LISTS)
    except UnusableListsError as error:
        return {"failed": str(error)}
    return metrics | json.loads((work / COSTS).read_text())


def _free_bytes() -> int:
    """Return the memory that Linux could give a process now, less the reserve."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(line for line in lines if line.startswith("MemAvailable:"))
    return int(available.split()[1]) * 2**10 - RESERVED_BYTES
