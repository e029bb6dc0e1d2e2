"""The places of runs that hold data of persons: tables by user, fitted models, and reports.

A fitted model has a row for each user, in the order of the run's users and without their ids. It is removed with
those of all users: nothing reads the models of a run that is complete, and one that is not starts over, because
its input has changed.
"""

import shutil
from collections.abc import Iterator
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any, Final

from jobs.checks.dry_run import JOB as DRY_RUN
from jobs.erasure.parquet_rows import by_id, find_rows, has_rows, remove_rows
from jobs.erasure.persons import Installation, Persons
from jobs.erasure.place import Place
from jobs.pipeline.run import MANIFEST
from jobs.pipeline.step_names import CHECKPOINTS, MODELS, REPORT
from jobs.scheduler.lock import lock_holder
from recsys.evaluation.report.formatting import shorten
from recsys.files import PARTIAL_SUFFIX, read_json

EVALUATION_ARRAYS: Final = "evaluation/**/*.npy"  # lists of measured users, a row for each


def find_tables(installation: Installation, persons: Persons) -> Iterator[dict[str, Any]]:
    """Yield the rows of persons in the tables of runs: features, lists, histories, profiles, screened users."""
    for run in _runs(installation, persons):
        yield from find_rows(installation.directory, _tables(run), persons, by_id)


def erase_tables(installation: Installation, persons: Persons) -> int:
    """Remove the rows of persons from the tables of runs."""
    return sum(remove_rows(_tables(run), persons, by_id) for run in _runs(installation, persons))


def find_models(installation: Installation, persons: Persons) -> Iterator[dict[str, Any]]:
    """Yield the fitted models, and the arrays of measured users, of runs whose tables have persons."""
    for run in _runs_of(installation, persons):
        yield from ({"file": file.relative_to(installation.directory).as_posix()} for file in _model_files(run))


def erase_models(installation: Installation, persons: Persons) -> int:
    """Remove the fitted models, and the arrays of measured users, of runs whose tables have persons."""
    removed = 0
    for run in _runs_of(installation, persons):
        for file in _model_files(run):
            file.unlink()
            removed += 1
    return removed


def find_reports(installation: Installation, persons: Persons) -> Iterator[dict[str, Any]]:
    """Yield the reports that show persons."""
    for page in _pages(installation, persons):
        yield {"file": page.relative_to(installation.directory).as_posix()}


def erase_reports(installation: Installation, persons: Persons) -> int:
    """Remove the reports that show persons."""
    pages = _pages(installation, persons)
    for page in pages:
        page.unlink()
    return len(pages)


def find_unfinished(installation: Installation, persons: Persons) -> Iterator[dict[str, Any]]:
    """Yield the unfinished outputs of killed runs and dry runs, which may have rows of anyone."""
    for path in _unfinished(installation, persons):
        yield {"file": path.relative_to(installation.directory).as_posix()}


def erase_unfinished(installation: Installation, persons: Persons) -> int:
    """Remove the unfinished outputs of killed runs and dry runs."""
    paths = _unfinished(installation, persons)
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return len(paths)


def _runs(installation: Installation, persons: Persons) -> list[Path]:
    """Return the directories of runs of times before the persons were erased."""
    runs = sorted((installation.directory / "runs").glob("*/"))
    return [run for run in runs if _as_of(run, persons.computed_before) <= persons.computed_before]


def _as_of(run: Path, otherwise: datetime) -> datetime:
    manifest = run / MANIFEST
    return datetime.fromisoformat(read_json(manifest)["as_of"]) if manifest.exists() else otherwise


def _runs_of(installation: Installation, persons: Persons) -> list[Path]:
    return [run for run in _runs(installation, persons) if has_rows(_tables(run), persons, by_id)]


def _tables(run: Path) -> list[Path]:
    return sorted(file for file in run.rglob("*.parquet") if not _is_hidden(file.relative_to(run)))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _model_files(run: Path) -> list[Path]:
    folders = (run / MODELS, run / CHECKPOINTS)
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return sorted([*files, *run.glob(EVALUATION_ARRAYS)])


def _pages(installation: Installation, persons: Persons) -> list[Path]:
    """Return the reports that show a person, by the marks of an id in their templates."""
    shown = {f'<span class="id">{escape(text)}</span>' for user in persons.ids for text in (user, shorten(user))}
    pages = [page for run in _runs(installation, persons) for page in sorted((run / REPORT).rglob("*.html"))]
    return [page for page in pages if _has_any(page.read_text(encoding="utf-8"), shown)]


def _has_any(text: str, marks: set[str]) -> bool:
    return any(mark in text for mark in marks)


def _unfinished(installation: Installation, persons: Persons) -> list[Path]:
    found = [path for run in _runs(installation, persons) for path in run.rglob(f".*{PARTIAL_SUFFIX}")]
    copy = installation.directory / DRY_RUN
    is_left = copy.exists() and lock_holder(installation.directory, DRY_RUN) is None
    return [*found, *([copy] if is_left else [])]


RUN_PLACES: Final = (
    Place("unfinished runs", find_unfinished, erase_unfinished),
    Place("models of runs", find_models, erase_models),
    Place("reports of runs", find_reports, erase_reports),
    Place("tables of runs", find_tables, erase_tables),
)
"""In the order of erasing: the tables say which runs have models of the persons."""
