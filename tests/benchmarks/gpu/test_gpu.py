"""The benchmark of a GPU: it runs with torch, numpy, scipy and polars alone, and says so where there is no GPU."""

import os
import re
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions, requires
from pathlib import Path
from typing import Final

import pytest
import torch

LIBRARIES: Final = ("torch", "numpy", "scipy", "polars")
ROOT: Final = Path(__file__).parents[3]


def test_the_engine_s_own_code_is_measured_without_other_libraries(tmp_path: Path):
    _link_libraries(tmp_path)
    # -S leaves out the installed libraries.
    command = [sys.executable, "-S", "-m", "tests.benchmarks.gpu", "--device", "cpu", "--small"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "not installed, replaced as far as they are used: pydantic, pydantic_core, torch_geometric" in run.stdout
    rows = [line for line in run.stdout.splitlines() if line.startswith(("| light_gcn", "| matrix"))]
    assert [row.count("other than the CPU's") for row in rows] == [0] * 6
    assert "| lists of 300 users with other ids than a sort | 0 |" in run.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_the_benchmark_says_so():
    run = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.gpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "gpu: left out: torch" in run.stdout


def _link_libraries(directory: Path) -> None:
    """Link the libraries, and those that they need, into a directory."""
    pending, names = list(LIBRARIES), set[str]()
    while pending:
        name = pending.pop()
        if name not in names:
            names.add(name)
            needed = [line for line in requires(name) or () if "extra ==" not in line]
            pending += [_normalize(re.split(r"[^\w.-]", line)[0]) for line in needed]
    modules = {
        module
        for module, owners in packages_distributions().items()
        if names & {_normalize(name) for name in owners}
    }
    installed = Path(str(distribution("torch").locate_file("")))
    for path in installed.iterdir():
        if path.name.partition(".")[0] in modules and path.suffix != ".dist-info":
            (directory / path.name).symlink_to(path)


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
