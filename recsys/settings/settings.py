"""All settings of one installation."""

from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from recsys.settings.anomalies import Anomalies
from recsys.settings.batch import Evaluation, Forecasts, Lake, Lists, Retention, Schedule, Search
from recsys.settings.online import Redis, Serving
from recsys.settings.sources import Sources
from recsys.settings.types import STRICT, Device, FilePath, Names, Secret


@dataclass(frozen=True, config=STRICT)
class Settings:
    """All settings of one installation."""

    directory: FilePath = Path("var")
    """Directory of the lake, the runs and the embedded server."""
    repeat: Literal["allow", "exclude"] = "exclude"
    """Whether items that a user already has, by `sources.exclude_events`, may be recommended again."""
    seed: int = 0
    """Seed of all random numbers."""
    device: Device = "auto"
    """Where models with CUDA support run: `cuda`, `cpu`, or `auto` for CUDA if there is one."""
    pseudonym_key: Secret | None = field(default=None, repr=False)
    """Key with which ids of users, sessions and events are replaced by their HMAC-SHA256 wherever they are stored;
    IP addresses and browsers are then not stored. Set it by RECSYS_PSEUDONYM_KEY."""
    former_pseudonym_keys: tuple[Secret, ...] = field(default=(), repr=False)
    """Keys before `pseudonym_key`, the oldest first: see [operations](operations.md#pseudonyms). Set them by
    RECSYS_FORMER_PSEUDONYM_KEYS, as in `["first key", "second key"]`."""
    log_format: Literal["text", "json"] = "text"
    """Format of the log lines on standard error."""
    models: Names = (
        "popularity",
        "trending",
        "repurchase",
        "item_knn",
        "user_knn",
        "rp3beta",
        "als",
        "buy_again",
        "tifu_knn",
        "next_basket",
        "bspm",
        "ease",
        "ials",
        "light_gcn",
    )
    """Names of the models to try within the limits of `search`. The best of them, their blend, or the second stage
    over their lists is published; see `evaluation.min_gain`."""
    model_settings: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Name of a model -> values for fields of its config."""
    sources: Sources = field(default_factory=Sources)
    """What to read: see `sources`."""
    lake: Lake = field(default_factory=Lake)
    """How events are stored: see `lake`."""
    evaluation: Evaluation = field(default_factory=Evaluation)
    """How models are compared: see `evaluation`."""
    search: Search = field(default_factory=Search)
    """Limits of the search: see `search`."""
    lists: Lists = field(default_factory=Lists)
    """Lengths of the published lists: see `lists`."""
    forecasts: Forecasts = field(default_factory=Forecasts)
    """Forecasts of customers: see `forecasts`."""
    redis: Redis = field(default_factory=Redis)
    """Where lists are published: see `redis`."""
    retention: Retention = field(default_factory=Retention)
    """How long data is kept: see `retention`."""
    schedule: Schedule = field(default_factory=Schedule)
    """When jobs run: see `schedule`."""
    serving: Serving = field(default_factory=Serving)
    """How requests are answered: see `serving`."""
    anomalies: Anomalies = field(default_factory=Anomalies)
    """How bots and attacks are detected: see `anomalies`."""
