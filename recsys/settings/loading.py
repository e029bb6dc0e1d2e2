"""Load settings from recsys.toml and RECSYS_* environment variables; no other module reads either."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from recsys.errors import SettingsError
from recsys.settings.settings import Settings
from recsys.settings.types import REDACTED

ENVIRONMENT_PREFIX = "RECSYS_"
PROBLEMS = {"tuple_type": "expected a list, as in ['a']", "dict_type": "expected a table of names and values"}
"""Kinds of errors -> what was expected, in the terms of TOML."""
FILE_VARIABLE = f"{ENVIRONMENT_PREFIX}SETTINGS_FILE"
DEFAULT_FILE = Path("recsys.toml")

T = TypeVar("T")

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
SECTIONS = (
    "sources",
    "lake",
    "evaluation",
    "search",
    "lists",
    "forecasts",
    "redis",
    "retention",
    "schedule",
    "serving",
    "anomalies",
)
RENAMED_SETTINGS = {
    "candidates": "models",
    "anomalies.flag_score": "anomalies.flag_threshold",
    "anomalies.screen_score": "anomalies.screen_threshold",
    "anomalies.most_flagged": "anomalies.max_flagged_share",
    "anomalies.neighbor_users": "anomalies.min_support",
    "evaluation.users": "evaluation.max_users",
    "schedule.longest_backoff_seconds": "schedule.max_backoff_seconds",
    "search.memory": "search.max_memory",
    "search.minutes": "search.max_minutes",
    "search.trials": "search.max_trials",
    "serving.most_per_brand": "serving.max_per_brand",
    "serving.most_per_category": "serving.max_per_category",
}
"""Former name of a setting -> its present name."""
SECRET_FIELDS = ("pseudonym_key",)
SECRET_LISTS = ("former_pseudonym_keys",)
SECRET_TABLES = ("connections", "storage_options")  # of `sources`
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")  # the one setting of AWS that its library does not look up


def settings_file(environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the file named by `RECSYS_SETTINGS_FILE`, else recsys.toml if it exists, else None."""
    path = (os.environ if environment is None else environment).get(FILE_VARIABLE)
    if path:
        return Path(path)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def load_settings(path: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings file at `path`, if any, and override it by environment variables.

    `RECSYS_<FIELD>` and `RECSYS_<SECTION>_<FIELD>` set a field; `RECSYS_SOURCES_CONNECTIONS_<NAME>` and
    `RECSYS_SOURCES_STORAGE_OPTIONS_<NAME>` set one entry of a table, with its name in lower case.

    Raises `SettingsError` with the field, the value and what was expected.
    """
    values = {} if path is None else _read_toml(path)
    if path is not None:
        _reject_renamed_settings(values, str(path))
    variables = os.environ if environment is None else environment
    _overlay(values, variables)
    return parse(TypeAdapter(Settings), values, "settings" if path is None else str(path), variables)


def _reject_renamed_settings(values: Mapping[str, Any], where: str) -> None:
    """Raise `SettingsError` for a setting that is given by its former name, or as a former kind of table."""
    for old, new in RENAMED_SETTINGS.items():
        section, _, name = old.rpartition(".")
        fields: object = values.get(section) if section else values
        if isinstance(fields, Mapping) and name in fields:
            raise SettingsError(f"{where}: {old} was renamed to {new}")
    models = values.get("models")
    if isinstance(models, Mapping):
        name = next(iter(cast(Mapping[str, object], models)), "<name>")
        raise SettingsError(
            f"{where}: models.{name}: the settings of a model are in [model_settings.{name}]; "
            "models is the list of models to try"
        )


def parse(adapter: TypeAdapter[T], values: Any, where: str, variables: Mapping[str, str] | None = None) -> T:
    """Return `values` as the adapter's type.

    Raises `SettingsError` naming `where`, or the one of the environment's `variables` that gives the value, the
    field, the value and what was expected.
    """
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        variable = ENVIRONMENT_PREFIX + name.replace(".", "_").upper()
        where = variable if variables and variable in variables else where
        if first["type"] == "missing":
            raise SettingsError(f"{where}: {name} is missing") from None
        unknown = first["type"] == "unexpected_keyword_argument"
        problem = "there is no such setting" if unknown else PROBLEMS.get(first["type"], first["msg"])
        raise SettingsError(f"{where}: {name} = {_redact_value(name, first['input'])}: {problem}") from None


def _redact_value(name: str, value: object) -> str:
    """Return the value as text, or `REDACTED` if it may hold a password.

    Any address, an unknown field of `redis` and a whole table of `sources` may.
    """
    section, _, rest = name.partition(".")
    text = repr(value)
    secret = section in (*SECRET_FIELDS, *SECRET_LISTS) or (section == "redis" and name not in NOT_SECRET)
    secret |= section == "sources" and (rest.startswith(SECRET_TABLES) or isinstance(value, dict))
    return REDACTED if secret or "://" in text else text


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from None


def _overlay(values: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Put the values of environment variables over those of the file."""
    for variable, text in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == FILE_VARIABLE:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        section, _, rest = name.partition("_")
        if section in SECTIONS and rest:
            _reject_renamed_variable(variable, f"{section}.{rest}")
            if not isinstance(values.setdefault(section, {}), dict):
                raise SettingsError(f"{section}: expected a table, [{section}], to put {variable} in")
            _put(values[section], section, rest, text)
        else:
            _reject_renamed_variable(variable, name)
            values[name] = text if name in SECRET_FIELDS else _parse_value(text)
    endpoint = next((environment[variable] for variable in ENDPOINTS if environment.get(variable)), None)
    if endpoint and isinstance(values.setdefault("sources", {}), dict):
        options = values["sources"].setdefault("storage_options", {})
        if isinstance(options, dict):
            values["sources"]["storage_options"] = {"aws_endpoint_url": endpoint, **options}


def _reject_renamed_variable(variable: str, name: str) -> None:
    new = RENAMED_SETTINGS.get(name)
    if new is not None:
        renamed = ENVIRONMENT_PREFIX + new.replace(".", "_").upper()
        raise SettingsError(f"{variable}: was renamed to {renamed}: {name} is now {new}")


def _put(values: dict[str, Any], section: str, name: str, text: str) -> None:
    """Set a field of a section, or one entry of a table of secrets, whose values are always text."""
    for table in SECRET_TABLES if section == "sources" else ():
        if name.startswith(f"{table}_") and isinstance(values.setdefault(table, {}), dict):
            values[table][name.removeprefix(f"{table}_")] = text
            return
    values[name] = _parse_value(text)


def _parse_value(text: str) -> Any:
    """Return the TOML value that the text is, or the text itself if it is none."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
