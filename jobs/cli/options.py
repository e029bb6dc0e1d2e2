"""Options that several commands have."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from recsys.errors import SettingsError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Settings file (default: $RECSYS_SETTINGS_FILE, else recsys.toml if it exists)"
    ),
]
AsOf = Annotated[
    str | None,
    typer.Option(help="Use events before this moment in UTC, such as 2017-12-31T06:00 (default: last midnight)"),
]
IsPseudonym = Annotated[
    bool, typer.Option("--pseudonym", help="USER is a pseudonym, as `recsys anomalies list` prints it")
]
Scheduled = Annotated[bool, typer.Option("--scheduled", hidden=True)]
SourcePaths = Annotated[
    list[str] | None,
    typer.Argument(
        help="Files, directories, globs, s3:// addresses (default: sources.paths and the query of each table)"
    ),
]


def parse_as_of(as_of: str | None) -> datetime:
    """Parse --as-of in UTC; None means the last midnight. Raises `SettingsError`, also for a future moment."""
    now = datetime.now(UTC)
    if as_of is None:
        return now.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        moment = datetime.fromisoformat(as_of)
    except ValueError:
        raise SettingsError(f"--as-of = {as_of!r}: expected a date or time such as 2017-12-31T06:00") from None
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment > now:
        raise SettingsError(f"--as-of = {as_of!r}: lies in the future")
    return moment
