"""Cross-validation in time by the command: the same figures as a run of that day would give."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.shop import AS_OF, FIRST_DAY

RUN = "20260411T000000Z"
EARLIER = "2026-03-28"  # 14 days, the length of a window, before
EARLIER_RUN = "20260328T000000Z"
MODELS = ("item_knn", "popularity", "repurchase")

Recsys = Callable[..., subprocess.CompletedProcess[str]]
WriteSettings = Callable[[str], Path]


def measurement(directory: Path, run: str, window: str, model: str) -> dict[str, object]:
    return json.loads((directory / "runs" / run / "evaluation" / window / model / "measurement.json").read_text())


def test_every_window_is_what_a_run_of_that_day_had_measured(
    recsys: Recsys, write_settings: WriteSettings, shop_lake: Path, data_directory: Path
) -> None:
    settings = write_settings("allow")
    shutil.copytree(shop_lake, data_directory / "lake")
    refused = recsys("--config", settings, "evaluate", "--as-of", AS_OF, "--folds", "8")
    assert refused.returncode == 2
    # 100 days hold seven windows of 14 days and something before them.
    line = refused.stderr.strip().splitlines()[-1]
    assert line.startswith(
        "recsys: evaluation.folds = 8: of the test window from 2025-12-20 00:00 to 2026-01-03 00:00, no event "
        f"is before it; the events run from {FIRST_DAY:%Y-%m-%d}"
    )
    assert not (data_directory / "runs" / RUN / "evaluation" / "search").exists()

    done = recsys("--config", settings, "evaluate", "--as-of", AS_OF, "--folds", "3")
    assert done.returncode == 0, done.stderr
    then = recsys("--config", settings, "evaluate", "--as-of", EARLIER)
    assert then.returncode == 0, then.stderr

    directory = data_directory / "runs" / RUN
    manifest = json.loads((directory / "manifest.json").read_text())
    folds = {step for step in manifest["steps"] if "fold" in step}
    assert folds == {f"evaluation/fold-{number}/{model}" for number in (1, 2) for model in MODELS}
    assert manifest["settings"]["evaluation"]["folds"] == 3
    for model in MODELS:
        of_fold = measurement(data_directory, RUN, "fold-1", model)
        assert of_fold == measurement(data_directory, EARLIER_RUN, "test", model)
        assert of_fold != measurement(data_directory, RUN, "test", model)
        assert of_fold != measurement(data_directory, RUN, "fold-2", model)

    page = (directory / "report" / "report.html").read_text()
    assert 'id="time"' in page
    assert "Over 3 windows" in page
    for start in ("28 February 2026", "14 March 2026", "28 March 2026"):
        assert start in page
    without = (data_directory / "runs" / EARLIER_RUN / "report" / "report.html").read_text()
    assert 'id="time"' not in without
