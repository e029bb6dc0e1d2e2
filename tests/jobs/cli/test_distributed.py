"""LightGCN of a run, fitted by two processes that torchrun starts."""

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import typer

from jobs.cli.distributed import main
from jobs.pipeline.interactions import read_interactions
from jobs.pipeline.models import build_configured_model
from jobs.pipeline.pipeline import advance_run
from jobs.pipeline.run import Run
from jobs.pipeline.step_names import Until
from jobs.progress import LogProgress
from recsys.models.light_gcn import LightGcn
from recsys.settings import load_settings
from tests.commands import restored_logging
from tests.jobs.conftest import Recsys
from tests.shop import AS_OF

SETTINGS = """
models = ["popularity", "light_gcn"]
[model_settings.light_gcn]
embedding_size = 4
negatives = 16
batch_size = 128
learning_rate = 0.02
epochs = 3
[evaluation]
validation_days = 14
test_days = 14
[search]
max_trials = 0
"""


def torchrun(directory: Path, data: Path, repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "RECSYS_DIRECTORY": str(data),
        "PYTHONPATH": str(repository),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    program = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "jobs.cli.distributed")
    command = [sys.executable, "-m", *program, *arguments]
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=180, check=False
    )


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    path = tmp_path / "recsys.toml"
    path.write_text(SETTINGS)
    return path


def test_a_run_goes_on_with_the_model_that_two_processes_fitted_as_one_would(
    shop: Path, settings_file: Path, tmp_path: Path, data_directory: Path, repository: Path, recsys: Recsys
):
    assert recsys("--config", settings_file, "ingest", shop).returncode == 0
    assert recsys("--config", settings_file, "features", "--as-of", AS_OF).returncode == 0
    done = torchrun(tmp_path, data_directory, repository, "--config", str(settings_file), "--as-of", AS_OF)
    assert done.returncode == 0, done.stderr

    moment = datetime.fromisoformat(f"{AS_OF}T00:00:00+00:00")
    run = Run(data_directory / "runs" / "20260411T000000Z", moment)
    written = LightGcn.load(run.directory / "models" / "light_gcn")
    settings = load_settings(settings_file, {"RECSYS_DIRECTORY": str(data_directory)})
    outcome = advance_run(settings, moment, Until.TRAIN, LogProgress())
    assert "models/light_gcn" in outcome.run.manifest()["steps"]
    kept = LightGcn.load(run.directory / "models" / "light_gcn")
    np.testing.assert_array_equal(kept.item_factors, written.item_factors)

    one = build_configured_model("light_gcn", settings).fit(read_interactions(run, settings.sources))
    assert isinstance(one, LightGcn)
    for of_two, of_one in ((written.user_factors, one.user_factors), (written.item_factors, one.item_factors)):
        assert np.abs(of_one).max() > 0.1
        np.testing.assert_allclose(of_two, of_one, atol=2e-3)


def test_without_features_the_error_is_one_line(
    settings_file: Path, data_directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RECSYS_DIRECTORY", str(data_directory))
    with restored_logging(), pytest.raises(typer.Exit) as stop:
        main(AS_OF, settings_file)
    assert stop.value.exit_code == 2
    error = capsys.readouterr().err
    assert "features are not computed; run `recsys features`" in error
    assert error.count("\n") == 1
