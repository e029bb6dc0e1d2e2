"""What searches found on earlier nights: tuned settings, what they were compared with, and which models won."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter

from jobs.lake.lake import Lake
from jobs.pipeline.search.result import Trial
from recsys.files import load_json, write_json
from recsys.settings import Settings

FILE: Final = "search_memory.json"
MAX_NIGHTS: Final = 60
MAX_TRIALS: Final = 200
"""Trials of a model that a search starts from, the latest ones."""


@dataclass(frozen=True)
class ModelMemory:
    """What a search knows of a model from earlier nights."""

    metric: float
    """The metric on the validation window of the night, with its values."""
    weight: float = 0.0
    """The mean weight in what that night published: 1 for a model that was published alone, an equal share for a
    member of a ranker that the blend does without."""
    values: Mapping[str, float] | None = None
    """Tuned settings; None if the configured ones are best."""
    score: float = 1.0
    """The metric with the values relative to that with the configured settings, over all nights that tuned them."""
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True)
class Night:
    """What one night's search found."""

    as_of: datetime
    validation_end: datetime
    """No event at or after it had a part in what was found."""
    objective: str
    """What models were chosen by."""
    models: Mapping[str, ModelMemory]


def objective(settings: Settings) -> str:
    """Return what models are chosen by; values found for another objective are not used."""
    events = " or ".join(settings.evaluation.relevant_events)
    return f"{settings.evaluation.metric} of {events or 'all events'}, repeat {settings.repeat}"


def read_nights(file: Path) -> tuple[Night, ...]:
    """Read the nights of a file, in order; none if it does not exist."""
    adapter = TypeAdapter(tuple[Night, ...], config=ConfigDict(allow_inf_nan=False))
    advice = "remove it: the next search starts from the configured settings"
    return load_json(file, adapter.validate_python, advice) if file.exists() else ()


def write_nights(file: Path, nights: Iterable[Night]) -> None:
    """Write nights to a file, aside and renamed."""
    write_json(file, [asdict(night) for night in nights])


def earlier_nights(lake: Lake, as_of: datetime, validation_end: datetime, chosen_by: str) -> tuple[Night, ...]:
    """Read the nights before `as_of` of the same objective that saw no event after `validation_end`."""
    return tuple(
        night
        for night in read_nights(lake.directory / FILE)
        if night.as_of < as_of and night.validation_end <= validation_end and night.objective == chosen_by
    )


def remember_night(lake: Lake, night: Night) -> None:
    """Add a night to the lake's memory, in place of what an earlier run of the same night found."""
    with lake.locked():
        file = lake.directory / FILE
        others = [other for other in read_nights(file) if _key(other) != _key(night)]
        write_nights(file, sorted([*others, night], key=_key)[-MAX_NIGHTS:])


def recall(nights: Iterable[Night]) -> dict[str, ModelMemory]:
    """Return the latest memory of each model, with the trials of all nights; only the last night gives weights."""
    ordered = sorted(nights, key=_key)
    recalled: dict[str, ModelMemory] = {}
    for night in ordered:
        for name, model in night.models.items():
            earlier = recalled[name].trials if name in recalled else ()
            weight = model.weight if night is ordered[-1] else 0.0
            trials = (*earlier, *model.trials)[-MAX_TRIALS:]
            recalled[name] = ModelMemory(model.metric, weight, model.values, model.score, trials)
    return recalled


def _key(night: Night) -> tuple[Any, ...]:
    return night.as_of, night.objective
