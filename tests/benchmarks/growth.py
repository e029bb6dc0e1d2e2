"""The nightly run on shops of 1, 5, 10 and 50 million generated events: what grows faster than the data, and why.

`python -m tests.benchmarks.growth 1 5 10` measures those sizes, in millions. Each is written to `.benchmarks` when
it is there; a measurement that was stopped goes on with the sizes that it lacks.
"""

import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import matplotlib.figure
import matplotlib.ticker

from recsys.files import read_json, write_json
from recsys.store.embedded import stop_server
from tests.benchmarks.generate import AS_OF, Size, write_shop
from tests.benchmarks.watch import watch

RECSYS: Final = str(Path(sys.executable).with_name("recsys"))
RESULTS: Final = Path(".benchmarks")
MILLION: Final = 1_000_000
SIZES: Final = (1, 5, 10, 50)
# The same work whatever the time: no model is left out, none is tuned.
CANDIDATES = ("popularity", "trending", "item_knn", "als", "bpr", "repurchase", "buy_again")
BUCKET_EVENTS: Final = 4 * MILLION

INGEST: Final = "ingest"
NIGHTLY: Final = "nightly, in all"
BETWEEN: Final = "between the steps"
FASTER: Final = 1.1  # exponent from which a step is said to grow faster than the data
MIN_SECONDS: Final = 1.0  # below, at the larger size, noise decides
MIN_BYTES: Final = 500 * 2**20

USERS_TIMES_ITEMS: Final = (
    "every item is scored for every user, and both grow with the shop: ten times the events are a hundred times "
    "the scores, until the catalogue stops growing"
)
WHY: Final[Mapping[str, str]] = {
    "evaluation": USERS_TIMES_ITEMS,
    "lists": USERS_TIMES_ITEMS,
    "models/item_knn": "items that share users: an active user adds the square of what the user had",
    "evaluation/item_knn": f"{USERS_TIMES_ITEMS}; and an active user adds the square of the user's items",
    "models/als": "factors of users and items in turn; memory of both, and of every user's items twice",
    "models/bpr": "one sample an event and epoch, and a sorted copy of every user's items",
    "features": "the pairs that are ever bought together grow faster than the orders; sorts grow with n log n",
    INGEST: "one file for each day and bucket: more buckets are more, smaller files",
    BETWEEN: "interactions and truth of both windows, computed anew from the lake, and imports",
    "report": "counts by user and item over all events",
    "publish": "a list for each user and item: users and items, not events",
    NIGHTLY: "the steps that grow faster weigh more the larger the shop is",
}


def growth(work: Path, sizes: Sequence[int] = SIZES) -> Iterator[tuple[str, Any]]:
    """Measure, print and plot seconds and peak memory of each step at each size in millions of events."""
    unfinished = RESULTS / "growth.unfinished.json"
    measured: dict[str, Any] = read_json(unfinished) if unfinished.exists() else {}
    for millions in sizes:
        if str(millions) not in measured:
            measured[str(millions)] = _measure(work / f"growth-{millions}", millions * MILLION)
            write_json(unfinished, measured)
    result = {millions: measured[str(millions)] for millions in sizes}
    _print_table(result)
    _print_growth(result)
    _plot(result, RESULTS / "growth.svg")
    write_json(RESULTS / "growth.json", result)
    unfinished.unlink()
    yield from ((f"{millions} million events", steps) for millions, steps in result.items())


def _measure(directory: Path, events: int) -> dict[str, dict[str, Any]]:
    """Run one shop from files to Redis; return step -> seconds, peak memory in bytes, and `failed` if it failed."""
    size = Size.of(events)
    print(
        f"{size.events:,} events of {size.users:,} users with {size.items:,} items …", file=sys.stderr, flush=True
    )
    shutil.rmtree(directory, ignore_errors=True)
    write_shop(directory / "shop", size)
    data = directory / "var"
    environment = {
        **os.environ,
        "RECSYS_DIRECTORY": str(data),
        "RECSYS_MODELS": json.dumps(CANDIDATES),
        "RECSYS_SEARCH_MAX_TRIALS": "0",
        "RECSYS_SEARCH_MAX_MINUTES": "600",
        "RECSYS_LAKE_BUCKETS": str(math.ceil(events / BUCKET_EVENTS)),
    }
    ingest = watch([RECSYS, "ingest", str(directory / "shop")], environment)
    shutil.rmtree(directory / "shop")
    nightly = watch([RECSYS, "nightly", "--as-of", AS_OF.strftime("%Y-%m-%d")], environment)
    stop_server(data / "valkey")
    steps = {INGEST: _costs(ingest.seconds, ingest.peak_bytes, ingest.failed)}
    for manifest in (data / "runs").glob("*/manifest.json"):
        steps |= _steps(json.loads(manifest.read_text())["steps"])
    between = nightly.seconds - sum(costs["seconds"] for name, costs in steps.items() if name != INGEST)
    steps[BETWEEN] = _costs(between, 0)
    steps[NIGHTLY] = _costs(nightly.seconds, nightly.peak_bytes, nightly.failed)
    shutil.rmtree(directory)
    return steps


def _steps(recorded: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Return the steps of a manifest, with those of the two windows merged."""
    steps: dict[str, dict[str, Any]] = {}
    for path, step in recorded.items():
        name = path.replace("/validation/", "/").replace("/test/", "/")
        so_far = steps.setdefault(name, _costs(0, 0))
        so_far["seconds"] += step["seconds"]
        so_far["peak_bytes"] = max(so_far["peak_bytes"], int(step["peak_memory_bytes"]))
    return steps


def _costs(seconds: float, peak_bytes: int, failed: str | None = None) -> dict[str, Any]:
    return {"seconds": seconds, "peak_bytes": peak_bytes} | ({"failed": failed} if failed else {})


def _print_table(result: Mapping[int, Mapping[str, Any]]) -> None:
    titles = [f"{millions} M: s | GB" for millions in result]
    print(f"\n| step | {' | '.join(titles)} |\n| --- |{' --- | --- |' * len(titles)}")
    for step in _names(result):
        cells = [_cells(steps.get(step)) for steps in result.values()]
        print(f"| {step} | {' | '.join(cells)} |", flush=True)


def _cells(costs: Mapping[str, Any] | None) -> str:
    if costs is None:
        return " | "
    memory = f"{costs['peak_bytes'] / 2**30:.1f}" if costs["peak_bytes"] else ""
    return f"{costs['seconds']:,.1f}{', failed: ' + costs['failed'] if 'failed' in costs else ''} | {memory}"


def _names(result: Mapping[int, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(step for steps in result.values() for step in steps))


def _print_growth(result: Mapping[int, Mapping[str, Any]]) -> None:
    """List the steps whose time or memory grows faster than the events between two sizes, with the reason."""
    print("\nWhat grows faster than the events (exponent above 1.1 between two sizes):\n")
    sizes = list(result)
    for step in _names(result):
        said: list[str] = []
        for small, large in pairwise(sizes):
            for what, unit, least in (("seconds", "time", MIN_SECONDS), ("peak_bytes", "memory", MIN_BYTES)):
                exponent = _exponent(result, step, what, small, large)
                if exponent > FASTER and result[large][step][what] > least:
                    said.append(f"{unit} ^{exponent:.2f} from {small} to {large} M")
        if said:
            print(f"- {step}: {', '.join(said)}. {_why(step)}")


def _exponent(result: Mapping[int, Mapping[str, Any]], step: str, what: str, small: int, large: int) -> float:
    """Return the exponent p of costs that grow as events ** p; 0 if a size lacks the step."""
    low, high = (result[size].get(step, {}).get(what, 0) for size in (small, large))
    return math.log(high / low) / math.log(large / small) if low > 0 and high > 0 else 0.0


def _why(step: str) -> str:
    reason = WHY.get(step) or WHY.get(step.partition("/")[0]) or "no reason is known yet"
    return reason[0].upper() + reason[1:] + "."


def _plot(result: Mapping[int, Mapping[str, Any]], path: Path) -> None:
    """Plot time and memory of each step over the events on logarithmic scales; the dashed line is linear growth."""
    figure = matplotlib.figure.Figure(figsize=(13, 6), layout="constrained")
    panels = figure.subplots(1, 2)
    sizes = list(result)
    for panel, what, unit, title in zip(
        panels, ("seconds", "peak_bytes"), (1, 2**30), ("seconds", "peak memory, GB"), strict=True
    ):
        for number, step in enumerate(_names(result)):
            points = [(size, result[size][step][what] / unit) for size in sizes if step in result[size]]
            shown = [(size, value) for size, value in points if value > 0]
            if shown:
                line = "-" if number < 10 else ":"
                panel.plot(*zip(*shown, strict=True), line, marker="o", label=step, color=f"C{number % 10}")
        top = max(result[sizes[0]][step][what] for step in result[sizes[0]]) / unit
        panel.plot(sizes, [top * size / sizes[0] for size in sizes], "--", color="grey", label="as the events")
        panel.set(xscale="log", yscale="log", xlabel="million events", ylabel=title)
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    panels[1].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="recsys-growth-") as scratch:
        dict(growth(Path(scratch), [int(size) for size in sys.argv[1:]] or SIZES))
    print(f"\nwritten to {RESULTS / 'growth.json'} and {RESULTS / 'growth.svg'}")
