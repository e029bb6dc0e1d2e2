"""All settings of one installation."""

from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from recsys.settings.anomalies import Anomalies
from recsys.settings.batch import Evaluation, Lake, Lists, Schedule, Search
from recsys.settings.online import Redis, Serving
from recsys.settings.sources import Sources
from recsys.settings.types import STRICT, Device, Secret


@dataclass(frozen=True, config=STRICT)
class Settings:
    """All settings of one installation."""

    directory: Path = Path("var")
    """Where the lake, the runs and the embedded server keep their files."""
    repeat: Literal["allow", "exclude"] = "exclude"
    """Whether items a user has had may be recommended again."""
    seed: int = 0
    """Where all randomness starts."""
    device: Device = "auto"
    """Where models compute that can on CUDA: cuda, cpu, or auto for CUDA where there is one."""
    pseudonym_key: Secret | None = field(default=None, repr=False)
    """With it user ids are replaced by their HMAC-SHA256 wherever they are kept; from RECSYS_PSEUDONYM_KEY."""
    log_format: Literal["text", "json"] = "text"
    """How log lines are written to standard error."""
    models: tuple[str, ...] = (
        "popularity",
        "trending",
        "repurchase",
        "item_knn",
        "user_knn",
        "als",
        "buy_again",
        "bspm",
        "ease",
        "ials",
        "light_gcn",
    )
    """Models that are tried, within `search`; the blend of them that wins on the validation window is published."""
    model_settings: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Model name -> values for fields of its config."""
    sources: Sources = field(default_factory=Sources)
    lake: Lake = field(default_factory=Lake)
    evaluation: Evaluation = field(default_factory=Evaluation)
    search: Search = field(default_factory=Search)
    lists: Lists = field(default_factory=Lists)
    redis: Redis = field(default_factory=Redis)
    schedule: Schedule = field(default_factory=Schedule)
    serving: Serving = field(default_factory=Serving)
    anomalies: Anomalies = field(default_factory=Anomalies)
