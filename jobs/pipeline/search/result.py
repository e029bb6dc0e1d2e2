"""The result of a search: what was found for each model, what it cost, and what later steps take of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from jobs.pipeline.run import Run
from jobs.pipeline.step_names import SEARCH
from recsys.files import read_json, write_json
from recsys.settings import Settings

RESULT_FILE: Final = "search.json"
SECONDS: Final = "search_seconds"
"""Field of the manifest: seconds of each model's fits. They are in no output, as they differ between two runs."""
STOPPED: Final = "search_stopped"
"""Field of the manifest: why the search ended before its budget was spent; None if it did not."""


@dataclass(frozen=True)
class Trial:
    """One set of values for a model's settings, and its score."""

    values: dict[str, float]
    metric: float
    """The metric on the users that settings are tuned on, relative to that of the configured settings."""


@dataclass(frozen=True)
class CandidateResult:
    """The result of the search for one model."""

    name: str
    metric: float | None = None
    """The metric on the users of the validation window for whom it ranked items, all unless it dropped out of the
    race; None if it ranked none."""
    work: float = 0.0
    """Units of work spent on the model; what it would have cost if it was not fitted."""
    seconds: float = 0.0
    """The time of its fits and rankings."""
    values: dict[str, Any] | None = None
    """The settings found, by tonight's search or an earlier one, which override the configured ones."""
    score: float = 1.0
    """The metric with these settings relative to that of the configured ones, over all nights that tuned them."""
    trials: tuple[Trial, ...] = ()
    """Sets of values that tonight's search tried, the one it started from first."""
    left_out: str | None = None
    """The reason why the model was left out; None if it was not."""

    @property
    def is_kept(self) -> bool:
        """Return whether later steps fit the model."""
        return self.left_out is None


@dataclass(frozen=True)
class SearchResult:
    """The results of all models, in the order of the settings, and the use of the budget."""

    tried: tuple[CandidateResult, ...]
    budget: float
    """Units of work that the search and the refits of its models may cost."""
    work: float
    """Units of work that the search cost."""
    refit_work: float
    """Units of work that the steps after the search need at most to fit its models again."""
    seconds: float = 0.0
    """The time of the whole search."""
    stopped: str | None = None
    """Why the search ended before its budget was spent; None if it did not."""


def write_search_result(run: Run, directory: Path, result: SearchResult) -> None:
    """Write a result to a directory, and the seconds of each model, which are no part of it, to the manifest."""
    run.update(
        **{
            SECONDS: {candidate.name: candidate.seconds for candidate in result.tried} | {"": result.seconds},
            STOPPED: result.stopped,
        }
    )
    timeless = tuple(replace(candidate, seconds=0.0) for candidate in result.tried)
    write_json(directory / RESULT_FILE, asdict(replace(result, tried=timeless, seconds=0.0)))


def read_search_result(run: Run) -> SearchResult:
    """Read the result of a run's search, with the seconds that the manifest has of it."""
    result = TypeAdapter(SearchResult).validate_python(read_json(run.directory / SEARCH / RESULT_FILE))
    seconds = run.manifest().get(SECONDS, {})
    tried = tuple(replace(candidate, seconds=seconds.get(candidate.name, 0.0)) for candidate in result.tried)
    return replace(result, tried=tried, seconds=seconds.get("", 0.0))


def apply_search(settings: Settings, result: SearchResult) -> Settings:
    """Keep the models that were not left out, each with the values found for it."""
    kept = [candidate for candidate in result.tried if candidate.is_kept]
    for candidate in kept:
        settings = with_values(settings, candidate.name, candidate.values or {})
    return replace(settings, models=tuple(candidate.name for candidate in kept))


def with_values(settings: Settings, name: str, values: Mapping[str, Any]) -> Settings:
    """Override fields of the config of the model called `name`."""
    configured = settings.model_settings.get(name, {})
    return replace(settings, model_settings={**settings.model_settings, name: {**configured, **values}})
