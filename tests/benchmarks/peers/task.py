"""The task of a peer library's script; it runs in the library's own environment, without our packages.

`python -m tests.benchmarks.peers.<name>` prints the names of its models, one a line; with a directory, a model and
the length of the lists it fits that model on `history.parquet` (user_id, item_id), ranks all items for those of
`users.parquet`, and writes `lists.parquet` (user_id, item_id, rank from 1) and `costs.json`.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

USER, ITEM, RANK = "user_id", "item_id", "rank"
HISTORY, USERS, LISTS, COSTS = "history.parquet", "users.parquet", "lists.parquet", "costs.json"


class Fitted(Protocol):
    """A fitted model of a library, with the data it was fitted on."""

    def lists(self, users: Any, n: int) -> pd.DataFrame:
        """Rank the n best new items for each of `users`: `user_id`, `item_id`, `rank`."""
        ...


class Library(Protocol):
    """A library with the history in its own format, which is prepared before the clock starts."""

    def fit(self, model: Any) -> Fitted:
        """Fit a new model."""
        ...


def run(prepare: Callable[[pd.DataFrame], Library], models: Mapping[str, Callable[[], Any]]) -> None:
    """Print the names of the models, or run the task on the command line."""
    if len(sys.argv) == 1:
        print("\n".join(models))
        return
    directory, name, n = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    library = prepare(pd.read_parquet(directory / HISTORY))
    users = pd.read_parquet(directory / USERS)[USER].to_numpy()
    started = time.perf_counter()
    fitted = library.fit(models[name]())
    ready = time.perf_counter()
    lists = fitted.lists(users, n)
    ranked = time.perf_counter()
    lists[[USER, ITEM, RANK]].to_parquet(directory / LISTS)
    costs = {
        "fit_seconds": ready - started,
        "recommend_seconds": ranked - ready,
        "peak_memory_mb": _peak_memory_mb(),
    }
    (directory / COSTS).write_text(json.dumps(costs))


def _peak_memory_mb() -> float:
    """Read the peak memory of this program; `ru_maxrss` would include that of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 2**10
