"""`python -m tests.benchmarks.gpu`: what a GPU brings, in under eight minutes, with torch, numpy, scipy and polars.

Training in both precisions and exact top-N
are compared with the CPU. `--device cpu --small` tries the program itself.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import scipy
import torch

from tests.benchmarks.gpu.stand_ins import install_stand_ins

EPOCHS = 4
SIZE, SMALL_SIZE = (30_000, 41_000, 1_000_000), (300, 400, 6_000)


def gpu(device: str = "cuda", *, is_small: bool = False) -> dict[str, Any]:
    """Measure on the device, print tables, and return the figures; without a device, say so and measure nothing."""
    if device == "cuda" and not torch.cuda.is_available():
        print(f"gpu: left out: torch {torch.__version__} finds no CUDA device here")
        return {"gpu": "left out: torch finds no CUDA device"}
    missing = install_stand_ins()
    # These import libraries that may have been missing.
    from tests.benchmarks.gpu.data import as_interactions, generate, read_gowalla
    from tests.benchmarks.gpu.top_n import measure_candidates, measure_top_n
    from tests.benchmarks.gpu.training import measure_training

    _describe(device, missing)
    gowalla = None if is_small else read_gowalla()
    train, test = gowalla or generate(*(SMALL_SIZE if is_small else SIZE))
    source = "Gowalla" if gowalla else "generated"
    print(
        f"{source}: {train.shape[0]:,} users, {train.shape[1]:,} items, {train.nnz:,} and {test.nnz:,} interactions"
    )
    figures: dict[str, Any] = dict(measure_training(as_interactions(train), test, device, EPOCHS))
    figures |= dict(measure_top_n(train, device, is_compiled="numba" not in missing))
    return figures | dict(measure_candidates(train, device))


def gpu_benchmark(scratch: Path) -> Iterator[tuple[str, Any]]:  # noqa: ARG001 (the interface of all parts)
    """Measure on CUDA."""
    yield from gpu().items()


def _describe(device: str, missing: list[str]) -> None:
    name = torch.cuda.get_device_name() if device == "cuda" else "no GPU"
    memory = f", {torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB" if device == "cuda" else ""
    print(f"{name}{memory}; {len(os.sched_getaffinity(0))} CPUs, {torch.get_num_threads()} threads of torch")
    print(
        f"torch {torch.__version__}, CUDA {torch.version.cuda}, scipy {scipy.__version__}, polars {pl.__version__}"
    )
    if missing:
        print(f"not installed, replaced as far as they are used: {', '.join(missing)}")


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="generated data of a few hundred users")
    arguments = parser.parse_args()
    gpu(arguments.device, is_small=arguments.small)


if __name__ == "__main__":
    main()
