"""The nightly screening of a large shop, and how its graph part grows with the edges of the graph.

Generated events go into a lake, which the screen step reads in a process of its own, watched from outside. The
graph part is measured alone on graphs of three sizes, each in a process of its own too, and drawn.
"""

import json
import math
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import matplotlib.figure
import matplotlib.ticker
import numpy as np
import polars as pl
from scipy.sparse import csr_matrix, load_npz, save_npz

from jobs.lake.lake import Lake
from jobs.pipeline.context import RunContext
from jobs.pipeline.run import open_run
from jobs.pipeline.steps.screen import read_screen_summary, screen
from jobs.progress import LogProgress
from recsys.files import read_json, write_json
from recsys.schema import ITEM_ID, USER_ID
from recsys.settings import Settings
from tests.benchmarks.features import BUCKET_EVENTS, write_data
from tests.benchmarks.generate import AS_OF, Shop, Size, generate_events
from tests.benchmarks.watch import watch

RESULTS: Final = Path(".benchmarks")
MILLION: Final = 1_000_000
# Of so many users a million have an event.
SHOP: Final = Size(10 * MILLION, users=2_250_000, items=100_000)
EDGES: Final = (MILLION, 3 * MILLION, 10 * MILLION)
USER_EDGES: Final = 10
EVENTS_AN_EDGE: Final = 2.0  # about, in generated shops of so many edges a user
MAX_SECONDS: Final = 300.0
MAX_BYTES: Final = 8 * 2**30
NEAR_LINEAR: Final = 1.2  # exponent
SCREEN, GRAPH = "screen", "graph"


def screening_scale(
    work: Path, size: Size = SHOP, edges: tuple[int, ...] = EDGES
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Seconds and peak memory of the screen step, and seconds of the graph part at each size."""
    yield SCREEN, _screen_step(work / "screening", size)
    measured = {count: _graph_part(work / f"graph-{count}", count) for count in edges}
    exponent = _exponent({result["edges"]: result["seconds"] for result in measured.values()})
    print("\n| the graph part of screening: edges | users | seconds | seconds a million edges | peak GB |")
    print("| --- | --- | --- | --- | --- |")
    for result in measured.values():
        each = result["seconds"] / result["edges"] * MILLION
        costs = f"{result['seconds']:,.1f} | {each:.2f} | {result['peak_bytes'] / 2**30:.1f}"
        print(f"| {result['edges']:,} | {result['users']:,} | {costs} |")
    verdict = "reached" if exponent < NEAR_LINEAR else "**missed**"
    print(f"\nasked: near-linear; seconds grow as edges ^ {exponent:.2f}: {verdict}", flush=True)
    _plot(measured, exponent, RESULTS / "screening.svg")
    yield from ((f"graph of {count} edges", result) for count, result in measured.items())
    yield "graph exponent", {"exponent": exponent}


def _screen_step(directory: Path, size: Size) -> dict[str, Any]:
    shutil.rmtree(directory, ignore_errors=True)
    write_data(directory, size, math.ceil(size.events / BUCKET_EVENTS))
    result = _run(SCREEN, directory)
    users = read_json(directory / f"{SCREEN}.json") if result["failed"] is None else {}
    reached = result["failed"] is None and result["seconds"] < MAX_SECONDS and result["peak_bytes"] < MAX_BYTES
    print("\n| nightly screening | target | measured |\n| --- | --- | --- |")
    measured = f"{result['seconds']:,.0f} s, {result['peak_bytes'] / 2**30:.1f} GB"
    shown = result["failed"] or (measured if reached else f"**missed: {measured}**")
    print(f"| {users.get('users', size.users):,} users × {size.events:,} events | < 300 s, < 8 GB | {shown} |")
    shutil.rmtree(directory)
    return result | users


def _graph_part(directory: Path, edges: int) -> dict[str, Any]:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    save_npz(directory / "graph.npz", make_graph(edges))
    result = _run(GRAPH, directory)
    assert result["failed"] is None, f"the graph part {result['failed']}"
    result |= read_json(directory / f"{GRAPH}.json")  # its seconds are those of the maths alone
    shutil.rmtree(directory)
    return result


def make_graph(edges: int) -> csr_matrix:
    """Users x items of a generated shop, the number of events of each pair; at most so many edges."""
    size = Size(int(edges * EVENTS_AN_EDGE), users=edges // USER_EDGES, items=min(edges // 100, 100_000))
    number = pl.col(USER_ID, ITEM_ID).str.tail(-1).cast(pl.Int32)
    parts = [rows.select(number).group_by(USER_ID, ITEM_ID).len() for rows in generate_events(Shop.of(size))]
    pairs = pl.concat(parts).group_by(USER_ID, ITEM_ID).agg(pl.col("len").sum()).sort(USER_ID, ITEM_ID).head(edges)
    rows, columns, events = (pairs[name].to_numpy() for name in (USER_ID, ITEM_ID, "len"))
    return csr_matrix((events.astype(np.float64), (rows, columns)), shape=(int(rows.max()) + 1, size.items))


def _run(part: str, directory: Path) -> dict[str, Any]:
    return asdict(watch([sys.executable, "-m", "tests.benchmarks.screening_scale", part, str(directory)]))


def write_screen(directory: Path) -> None:
    """The screen step of the lake under `directory`, in a run there, and whom it found."""
    lake = Lake(directory / "lake", len(list((directory / "lake" / "events").iterdir())))
    settings = Settings(directory=directory)
    with open_run(settings, lake, AS_OF) as run:
        screen(RunContext(run, lake, settings, LogProgress()))
        summary = read_screen_summary(run)
    write_json(directory / f"{SCREEN}.json", {"users": summary.users, "screened_users": summary.screened_users})


def write_graph(directory: Path) -> None:
    """Seconds of what the graph under `directory` tells of its users."""
    from recsys.anomaly.group_measures import measure_graph

    events = csr_matrix(load_npz(directory / "graph.npz"))
    user_items = csr_matrix((np.ones(events.nnz, np.float32), events.indices, events.indptr), shape=events.shape)
    started = time.perf_counter()
    graph = measure_graph(user_items, events.data, seed=0)
    seconds = time.perf_counter() - started
    result = {"seconds": seconds, "edges": events.nnz, "users": graph.height}
    write_json(directory / f"{GRAPH}.json", result)


def _exponent(seconds: Mapping[int, float]) -> float:
    """p where seconds grow as the p-th power of the edges, by least squares of the logarithms."""
    if len(seconds) < 2:
        return 1.0
    edges = np.log(np.array(list(seconds), float))
    return float(np.polyfit(edges, np.log(list(seconds.values())), 1)[0])


def _plot(measured: Mapping[int, Mapping[str, Any]], exponent: float, path: Path) -> None:
    """Seconds over edges, both on logarithmic scales; dashed: linear."""
    edges = [result["edges"] / MILLION for result in measured.values()]
    seconds = [result["seconds"] for result in measured.values()]
    figure = matplotlib.figure.Figure(figsize=(7, 5), layout="constrained")
    panel = figure.subplots()
    panel.plot(edges, seconds, marker="o", label=f"measured: edges ^ {exponent:.2f}")
    panel.plot(edges, [seconds[0] * size / edges[0] for size in edges], "--", color="grey", label="linear")
    panel.set(xscale="log", yscale="log", xlabel="million edges", ylabel="seconds, graph part of screening")
    panel.set_xticks(edges, [f"{size:.3g}" for size in edges])
    panel.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    panel.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    if sys.argv[1] in (SCREEN, GRAPH):
        {SCREEN: write_screen, GRAPH: write_graph}[sys.argv[1]](Path(sys.argv[2]))
    else:
        print(json.dumps(dict(screening_scale(Path(sys.argv[1])))))
