"""Every setting, frozen, with its default, range and meaning."""

from recsys.settings.anomalies import Anomalies
from recsys.settings.batch import Evaluation, Forecasts, Lake, Lists, Retention, Schedule, Search
from recsys.settings.loading import (
    DEFAULT_FILE,
    ENVIRONMENT_PREFIX,
    FILE_VARIABLE,
    SECTIONS,
    load_settings,
    parse,
    settings_file,
)
from recsys.settings.online import Redis, Serving
from recsys.settings.settings import Settings
from recsys.settings.sources import ColumnMapping, Kind, Sources, Table

__all__ = [
    "DEFAULT_FILE",
    "ENVIRONMENT_PREFIX",
    "FILE_VARIABLE",
    "SECTIONS",
    "Anomalies",
    "ColumnMapping",
    "Evaluation",
    "Forecasts",
    "Kind",
    "Lake",
    "Lists",
    "Redis",
    "Retention",
    "Schedule",
    "Search",
    "Serving",
    "Settings",
    "Sources",
    "Table",
    "load_settings",
    "parse",
    "settings_file",
]
