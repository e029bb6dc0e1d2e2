"""`make bench`: measure every figure of the documentation, and print tables.

Features of 50 million events take about twenty minutes; accuracy, growth and peers take hours.
"""

import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any, Final

PARTS: Final = {
    "run": "nightly.whole_run",
    "accuracy": "nightly.accuracy",
    "top_k": "top_k.top_k",
    "publish": "publish.publish",
    "serve": "serve.serve",
    "request_cpu": "cpu.request_cpu.request_cpu",
    "failed_keys": "access.failed_keys.failed_keys",
    "guard": "guard.guard",
    "replay": "replay.replay",
    "new_users": "lists.new_users.new_users",
    "consistency": "consistency.consistency",
    "ingest": "ingest.ingest_benchmark",
    "init": "ingest.init_benchmark",
    "erase": "ingest.erase_benchmark",
    "features": "features.features",
    "due_items": "repurchase.due_items.due_items_benchmark",
    "growth": "growth.growth",
    "screening": "screening_scale.screening_scale",
    "peers": "peers.comparison.peers",
    "forecasts": "customers.forecasts.forecasts",
    "spammers": "spammers.spammers",
    "attacks": "attacks.benchmark.attacks",
    "gpu": "gpu.__main__.gpu_benchmark",
}
"""Part -> module and function. Only what is measured is imported: a machine with a GPU has few libraries."""


def main() -> None:
    """Measure and print everything, or the parts named on the command line."""
    names = sys.argv[1:] or list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        sys.exit(f"there is no part {unknown[0]!r}; expected some of {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="recsys-bench-") as scratch:
        figures = {name: _measure(name, Path(scratch)) for name in names}
    from recsys.files import write_json

    write_json(Path(".benchmarks") / "figures.json", figures)
    print("\nwritten to .benchmarks/figures.json")


def _measure(name: str, scratch: Path) -> dict[str, Any]:
    module, _, function = PARTS[name].rpartition(".")
    return dict(getattr(import_module(f"tests.benchmarks.{module}"), function)(scratch))


if __name__ == "__main__":
    main()
