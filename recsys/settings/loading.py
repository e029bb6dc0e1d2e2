"""Load settings from recsys.toml and RECSYS_* environment variables; no other module reads either."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from recsys.errors import SettingsError
from recsys.settings.settings import Settings
from recsys.settings.types import REDACTED

ENVIRONMENT_PREFIX = "RECSYS_"
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
    `sources` may.
    """
    section, _, rest = name.partition(".")
    given: object = value
    secret = name in SECRET_FIELDS or (section == "redis" and name not in NOT_SECRET)
    secret |= section == "sources" and (rest.startswith(SECRET_TABLES) or isinstance(given, dict))
    return REDACTED if secret or "://" in repr(value) else repr(value)


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
