"""Every setting, frozen, from recsys.toml and RECSYS_* variables; nothing else reads either."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import polars as pl
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from recsys.errors import SettingsError
from recsys.schema import DEFAULT_WEIGHTS, EARLIEST

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
ENVIRONMENT_PREFIX = "RECSYS_"


def _known_zone(name: str) -> str:
    try:
        pl.select(pl.lit(EARLIEST).dt.convert_time_zone(name))
    except pl.exceptions.PolarsError:
        raise PydanticCustomError("time_zone", "expected a time zone such as Europe/London") from None
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]
Positive = Annotated[int, Field(gt=0)]
Days = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
T = TypeVar("T")
Kind = Literal["events", "items", "users"]
# A column's name, a Polars SQL expression over the file's columns, or a list of columns.
Mapped = str | tuple[str, ...]


@dataclass(frozen=True, config=STRICT)
class Table:
    """How files of one kind map to the contract."""

    name: Name
    """What quarantine and reports call this table."""
    kind: Kind
    """Which part of the contract its rows are."""
    files: str
    """Names the files it reads, as in `transactions*.parquet`; one file may feed several tables."""
    columns: dict[str, Mapped]
    """Contract column -> column, SQL expression, or list of columns (category path, attributes)."""
    events: dict[str, str] = field(default_factory=dict[str, str])
    """Event name in the file -> name of the contract; a name not listed stays as it is."""
    time_zone: TimeZone | None = None
    """Time zone of times without one; `sources.time_zone` where it is not given."""
    time_format: str | None = None
    """strptime format of times written as text, `epoch_s` or `epoch_ms`; ISO 8601 where it is not given."""
    encoding: str = "utf-8"
    """Encoding of CSV and JSON Lines files."""
    separator: Annotated[str, Field(pattern=r"^[\t -~]$")] = ","
    """What stands between the fields of a CSV file."""


@dataclass(frozen=True, config=STRICT)
class Sources:
    """What to read and what each event is worth."""

    paths: tuple[str, ...] = ()
    """Files, directories and globs that `nightly` ingests."""
    tables: tuple[Table, ...] = ()
    """How files map to the contract; with none, files named events*, items*, users* in its own columns."""
    time_zone: TimeZone = "UTC"
    """Time zone of times without one."""
    weights: dict[str, float] = field(default_factory=dict[str, float])
    """Event name -> weight, over the built-in ones; a new name is a new event."""
    half_life_days: Days = 90.0
    """After so many days an event counts half."""
    chunk_rows: Positive = 1_000_000
    """Rows read, checked and written at a time."""

    @property
    def event_weights(self) -> dict[str, float]:
        """Every known event name and its weight."""
        return DEFAULT_WEIGHTS | self.weights


@dataclass(frozen=True, config=STRICT)
class Lake:
    """Where events are kept."""

    buckets: Annotated[int, Field(ge=1, le=1000)] = 1
    """A user's events lie in one of so many buckets; a step holds one in memory: about 5 million events."""


@dataclass(frozen=True, config=STRICT)
class Evaluation:
    """How models are compared."""

    validation_days: Days = 28.0
    """Window on which the published model is chosen, just before the test window."""
    test_days: Days = 28.0
    """Last window before `as_of`, only reported."""
    relevant_events: tuple[str, ...] = ()
    """Events that count as a hit; all of positive weight where none is named."""
    cutoffs: tuple[Positive, ...] = (5, 10, 20)
    """The k of every metric at k."""
    metric: str = "ndcg@20"
    """What the published model is chosen by."""
    light_user_events: Positive = 20
    """A user with fewer events than this is light, with none new, with more heavy."""
    head_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The share of all interactions that the head items make."""


@dataclass(frozen=True, config=STRICT)
class Lists:
    """What is published."""

    user_items: Positive = 100
    """Longest list of a user."""
    similar_items: Positive = 50
    """Longest list of similar items."""
    popular_items: Positive = 200
    """Longest popular and trending list."""


@dataclass(frozen=True, config=STRICT)
class Redis:
    """Where lists are served from."""

    url: str | None = None
    """redis://, rediss:// or unix:// address; without one an embedded Valkey runs under `directory`."""
    namespace: Name = "recsys"
    """First part of every key."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 5.0
    """How long one command may take."""
    keep_versions: Annotated[int, Field(ge=2)] = 2
    """Versions kept, the live one among them; older ones are removed after a publish."""


@dataclass(frozen=True, config=STRICT)
class Settings:
    """All settings of one installation."""

    directory: Path = Path("var")
    """Where the lake, the runs and the embedded server keep their files."""
    repeat: Literal["allow", "exclude"] = "exclude"
    """Whether items a user has had may be recommended again."""
    seed: int = 0
    """Where all randomness starts."""
    log_format: Literal["text", "json"] = "text"
    """How log lines are written to standard error."""
    candidates: tuple[str, ...] = ("popularity", "trending", "item_knn", "als", "bpr", "repurchase")
    """Models that are trained; the one that wins on the validation window is published."""
    models: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Model name -> values for fields of its config."""
    sources: Sources = field(default_factory=Sources)
    lake: Lake = field(default_factory=Lake)
    evaluation: Evaluation = field(default_factory=Evaluation)
    lists: Lists = field(default_factory=Lists)
    redis: Redis = field(default_factory=Redis)


NOT_SECRET = ("redis.namespace", "redis.timeout_seconds", "redis.keep_versions")
SECTIONS = ("sources", "lake", "evaluation", "lists", "redis")


def load_settings(path: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings file, if one is named, then `RECSYS_<FIELD>` and `RECSYS_<SECTION>_<FIELD>` over it.

    Raises `SettingsError` with the field, the value and what was expected.
    """
    values = {} if path is None else _read_toml(path)
    _overlay(values, os.environ if environment is None else environment)
    return parse(TypeAdapter(Settings), values, "settings" if path is None else str(path))


def parse(adapter: TypeAdapter[T], values: Any, where: str) -> T:
    """`values` as the adapter's type.

    Raises `SettingsError` naming `where`, the field, the value and what was expected.
    """
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise SettingsError(f"{where}: {name} is missing") from None
        unknown = first["type"] == "unexpected_keyword_argument"
        problem = "there is no such setting" if unknown else first["msg"]
        raise SettingsError(f"{where}: {name} = {_shown(name, first['input'])}: {problem}") from None


def _shown(name: str, value: Any) -> str:
    """The value, unless it may hold a password; a misspelled field of `redis`, or any address, may."""
    secret = name.partition(".")[0] == "redis" and name not in NOT_SECRET
    return "(not shown)" if secret or "://" in repr(value) else repr(value)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from None


def _overlay(values: dict[str, Any], environment: Mapping[str, str]) -> None:
    for variable, text in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        section, _, rest = name.partition("_")
        if section in SECTIONS and rest:
            if not isinstance(values.setdefault(section, {}), dict):
                raise SettingsError(f"{section}: expected a table, [{section}], to put {variable} in")
            values[section][rest] = _parse_value(text)
        else:
            values[name] = _parse_value(text)


def _parse_value(text: str) -> Any:
    """A TOML value where the text is one, the text itself otherwise."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
