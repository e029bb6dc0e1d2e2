"""Every setting, frozen, from recsys.toml and RECSYS_* variables; nothing else reads either."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from recsys.anomaly_settings import Anomalies
from recsys.errors import SettingsError
from recsys.online_settings import Redis, Serving
from recsys.schema import DEFAULT_WEIGHTS
from recsys.setting_types import (
    NOT_SHOWN,
    STRICT,
    Address,
    CronOrNever,
    Days,
    Device,
    Length,
    Memory,
    Name,
    Positive,
    Secret,
    TimeZone,
    zone_of_clock,
)

ENVIRONMENT_PREFIX = "RECSYS_"
FILE_VARIABLE = f"{ENVIRONMENT_PREFIX}SETTINGS_FILE"
DEFAULT_FILE = Path("recsys.toml")


T = TypeVar("T")
Kind = Literal["events", "items", "users"]
# A column's name, a Polars SQL expression over the file's columns, or a list of columns.
Mapped = str | tuple[str, ...]


@dataclass(frozen=True, config=STRICT)
class Table:
    """How files of one kind, or the rows of a query, map to the contract."""

    name: Name
    """What quarantine and reports call this table."""
    kind: Kind
    """Which part of the contract its rows are."""
    files: str = ""
    """Names the files it reads, as in `transactions*.parquet`; one file may feed several tables."""
    columns: dict[str, Mapped] = field(default_factory=dict[str, Mapped])
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
    query: str | None = None
    """SQL whose rows it reads, in place of files; in the dialect of the database."""
    connection: Address | None = field(default=None, repr=False)
    """Where the query runs: a name of `sources.connections`, or a URI."""
    watermark: str | None = None
    """Column that grows as rows are added or changed; an ingest starts from the greatest value seen."""
    lateness: Annotated[float, Field(ge=0)] = 1.0
    """How far below that value it starts: in days where it is a time, in its own unit where it is a number."""


@dataclass(frozen=True, config=STRICT)
class Sources:
    """What to read and what each event is worth."""

    paths: tuple[Address, ...] = ()
    """Files, directories and globs that `nightly` ingests; s3://, gs://, az:// or https:// as well."""
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
    connections: dict[str, Secret] = field(default_factory=dict[str, str], repr=False)
    """Name -> URI of a database: postgresql://, mysql:// or sqlite:///."""
    storage_options: dict[str, Secret] = field(default_factory=dict[str, str], repr=False)
    """Credentials and endpoint of the object store, as in `aws_endpoint_url`; the usual AWS_* variables without."""

    @property
    def file_tables(self) -> tuple[Table, ...]:
        """Tables that read files."""
        return tuple(table for table in self.tables if table.query is None)

    @property
    def queries(self) -> tuple[Table, ...]:
        """Tables that read the rows of a query."""
        return tuple(table for table in self.tables if table.query is not None)

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
    folds: Positive = 1
    """Test windows, each before the other, that every model is measured on to see whether results last."""
    relevant_events: tuple[str, ...] = ()
    """Events that count as a hit; all of positive weight where none is named."""
    cutoffs: tuple[Positive, ...] = (5, 10, 20)
    """The k of every metric at k."""
    metric: str = "ndcg@20"
    """What the published model is chosen by."""
    light_user_events: Positive = 20
    """A user with fewer events than this is light, with none new, with more heavy."""
    users: Positive = 20_000
    """Most users that are measured on a window, drawn at random."""
    head_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The share of all interactions that the head items make."""

    @property
    def cutoff(self) -> int:
        """The k of the metric that the published model is chosen by."""
        return int(self.metric.partition("@")[2])


@dataclass(frozen=True, config=STRICT)
class Search:
    """What may be spent on choosing models and their settings."""

    minutes: Annotated[float, Field(gt=0)] = 10.0
    """No candidate is fitted, and no other settings are tried, after so long; fits and lists come on top."""
    memory: Memory | None = None
    """Most that a fit may take, as `8GB`; without it what the machine has left."""
    trials: Annotated[int, Field(ge=0)] = 24
    """Most settings of a model that are tried, its own among them; 0 or 1 for none but its own."""


@dataclass(frozen=True, config=STRICT)
class Lists:
    """What is published."""

    user_items: Length = 100
    """Longest list of a user."""
    similar_items: Length = 50
    """Longest list of similar items."""
    popular_items: Length = 200
    """Longest popular and trending list."""
    history_items: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Latest items of a user that serving keeps out of every answer, where `repeat` is exclude."""


@dataclass(frozen=True, config=STRICT)
class Schedule:
    """When `recsys schedule` runs what, and what it does when that fails."""

    nightly: CronOrNever = "30 2 * * *"
    """Cron expression of the nightly run; an empty one for never."""
    trending: CronOrNever = "15 * * * *"
    """Cron expression of the trending list's renewal; an empty one for never."""
    archive: CronOrNever = "*/15 * * * *"
    """Cron expression of the archive of what was taken in online; an empty one for never."""
    time_zone: Annotated[TimeZone, AfterValidator(zone_of_clock)] = "UTC"
    """Time zone of the cron expressions."""
    misfire_grace_seconds: Positive = 21_600
    """A job that could not start at its time starts up to so much later, after that not until its next time."""
    retries: Annotated[int, Field(ge=0)] = 3
    """How often a failed job is tried again."""
    backoff_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Wait before the first retry; it doubles with each."""
    longest_backoff_seconds: Annotated[float, Field(gt=0)] = 3_600.0
    """Longest wait before a retry."""
    stop_seconds: Annotated[float, Field(ge=0)] = 30.0
    """How long a job has to end when the scheduler is told to stop; then it is killed."""


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
    candidates: tuple[str, ...] = (
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
    models: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
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


NOT_SECRET = (
    "redis.cluster",
    "redis.sentinel",
    "redis.namespace",
    "redis.timeout_seconds",
    "redis.keep_versions",
    "redis.max_memory",
    "redis.tls_ca",
    "redis.tls_certificate",
    "redis.tls_key",
)
SECTIONS = ("sources", "lake", "evaluation", "search", "lists", "redis", "schedule", "serving", "anomalies")
SECRET_FIELDS = ("pseudonym_key",)
SECRET_TABLES = ("connections", "storage_options")  # of `sources`
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")  # the one setting of AWS that its library does not look up


def settings_file(environment: Mapping[str, str] | None = None) -> Path | None:
    """The file that `RECSYS_SETTINGS_FILE` names, recsys.toml where it names none, None where that is not there."""
    named = (os.environ if environment is None else environment).get(FILE_VARIABLE)
    if named:
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def load_settings(path: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings file, if one is named, then `RECSYS_<FIELD>` and `RECSYS_<SECTION>_<FIELD>` over it.

    `RECSYS_SOURCES_CONNECTIONS_<NAME>` and `RECSYS_SOURCES_STORAGE_OPTIONS_<NAME>` set one entry, in lower case.

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
    """The value, unless it may hold a password; a misspelled field of `redis`, any address, or a whole table of
    `sources` may."""
    section, _, rest = name.partition(".")
    given: object = value
    secret = name in SECRET_FIELDS or (section == "redis" and name not in NOT_SECRET)
    secret |= section == "sources" and (rest.startswith(SECRET_TABLES) or isinstance(given, dict))
    return NOT_SHOWN if secret or "://" in repr(value) else repr(value)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from None


def _overlay(values: dict[str, Any], environment: Mapping[str, str]) -> None:
    for variable, text in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == FILE_VARIABLE:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        section, _, rest = name.partition("_")
        if section in SECTIONS and rest:
            if not isinstance(values.setdefault(section, {}), dict):
                raise SettingsError(f"{section}: expected a table, [{section}], to put {variable} in")
            _put(values[section], section, rest, text)
        else:
            values[name] = text if name in SECRET_FIELDS else _parse_value(text)
    endpoint = next((environment[variable] for variable in ENDPOINTS if environment.get(variable)), None)
    if endpoint and isinstance(values.setdefault("sources", {}), dict):
        options = values["sources"].setdefault("storage_options", {})
        if isinstance(options, dict):
            values["sources"]["storage_options"] = {"aws_endpoint_url": endpoint, **options}


def _put(values: dict[str, Any], section: str, name: str, text: str) -> None:
    """Set a field of a section, or one entry of a table of secrets, which are text whatever they look like."""
    for table in SECRET_TABLES if section == "sources" else ():
        if name.startswith(f"{table}_") and isinstance(values.setdefault(table, {}), dict):
            values[table][name.removeprefix(f"{table}_")] = text
            return
    values[name] = _parse_value(text)


def _parse_value(text: str) -> Any:
    """A TOML value where the text is one, the text itself otherwise."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
