"""From the sources that a user names to settings that are not written yet."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from jobs.ingest.files import SkippedFile
from jobs.ingest.plan import IngestPlan
from jobs.ingest.queries import SCHEMES
from jobs.lake.lake import open_lake
from jobs.mapping_inference.conclusions import Conclusion
from jobs.mapping_inference.database_samples import Database, sample_database
from jobs.mapping_inference.inference import Inference, infer
from jobs.mapping_inference.preview import MIN_REPEATS, Preview, last_event, read_sample, repeat_share
from jobs.mapping_inference.questions import Ask, time_zone_question
from jobs.mapping_inference.recipes import Recipe
from jobs.mapping_inference.samples import SourceSample, sample_files
from jobs.mapping_inference.settings_file import Draft, not_recommendable
from recsys.errors import SourceError
from recsys.schema import TIMESTAMP
from recsys.settings import Settings, Sources, Table
from recsys.settings.types import TimeZone, redact_address

LOCAL_TIME = Path("/etc/localtime")
SQLITE = (".db", ".sqlite", ".sqlite3")
EMPTY_DATABASE = "has no table with rows"


@dataclass(frozen=True)
class DraftedSettings:
    """A draft, the rows that it reads, and the files that were found and are not read."""

    draft: Draft
    previews: list[Preview]
    skipped: list[SkippedFile]
    last_event: datetime | None
    """Time of the last event; None without one."""


def draft_settings(
    addresses: Sequence[str], settings: Settings, ask: Ask, base: Path, scratch: Path, now: datetime
) -> DraftedSettings:
    """Look at files and databases, and return settings that read them.

    `base` is the directory where the settings file will be; `scratch` one for temporary files. Raises `SourceError`
    when there is no file or a database cannot be reached, `SettingsError` for a URI that is not understood.
    """
    addresses = [_with_scheme(address) for address in addresses]
    uris = {_connection_name(position): uri for position, uri in enumerate(filter(_is_database, addresses))}
    paths = [address for address in addresses if not _is_database(address)]
    samples, skipped = _file_samples(paths, settings, scratch) if paths else ([], [])
    by_recipe: list[tuple[Recipe, Conclusion]] = []
    for name, uri in uris.items():
        database = Database(name, uri, scratch)
        found = sample_database(database)
        samples += found.samples
        by_recipe += [(recipe, _query_conclusion(database, recipe, table)) for recipe, table in found.recipes]
        if not found.samples and not found.recipes:
            raise SourceError(f"{redact_address(uri)}: {EMPTY_DATABASE}")
    inference = infer(samples, ask, by_recipe)
    zone = _time_zone(inference, ask)
    sources = Sources(time_zone=zone or "UTC")
    previews = [read_sample(conclusion, sources) for conclusion in inference.conclusions]
    repeat, reason = _repeat(inference, previews)
    draft = Draft(
        ", ".join(redact_address(address) for address in addresses),
        inference,
        tuple(_relative_to(base, path) for path in paths),
        {name: uri for name, uri in uris.items() if not _has_password(uri)},
        tuple(name for name, uri in uris.items() if _has_password(uri)),
        zone,
        repeat,
        reason,
    )
    last = [
        last_event(conclusion, preview, sources, now)
        for conclusion, preview in zip(inference.conclusions, previews, strict=True)
        if conclusion.table.kind == "events"
    ]
    return DraftedSettings(draft, previews, skipped, max((each for each in last if each is not None), default=None))


def _is_database(address: str) -> bool:
    scheme, separator, _ = address.partition("://")
    return bool(separator) and scheme in SCHEMES


def _with_scheme(address: str) -> str:
    """Return the URI of an SQLite file, and any other address as it is."""
    return f"sqlite:///{address}" if Path(address).suffix in SQLITE and Path(address).is_file() else address


def _connection_name(position: int) -> str:
    return "shop" if position == 0 else f"shop_{position + 1}"


def _has_password(uri: str) -> bool:
    return not uri.startswith("sqlite:") and (urlsplit(uri).password is not None or "password" in uri)


def _relative_to(base: Path, path: str) -> str:
    """Return a path as the settings have it: as it was given, absolute if the file is in another directory."""
    is_here = "://" in path or base.resolve() == Path.cwd()
    return path if is_here else str(Path(path).resolve())


def _file_samples(
    paths: list[str], settings: Settings, scratch: Path
) -> tuple[list[SourceSample], list[SkippedFile]]:
    plan = IngestPlan(settings.sources, open_lake(settings))
    files, _ = plan.find(paths, scratch)
    own = settings.directory.resolve()
    shown = [file for file in files if not Path(file.display_name).is_relative_to(own)]
    found = sample_files(shown, scratch)
    return found.samples, [*plan.skipped, *found.skipped]


def _query_conclusion(database: Database, recipe: Recipe, table: Table) -> Conclusion:
    """Return how a query of a recipe is read."""
    named = replace(table, connection=database.name)
    sample = SourceSample(table.name, named, database.rows((table.query or "").strip().rstrip(";")))
    time = table.columns.get(TIMESTAMP)
    is_local = isinstance(time, str) and time in sample.profiles and sample.profiles[time].times.is_local
    reasons = {"recipe": f"the tables are those of {recipe.title}"}
    return Conclusion(named, sample, reasons, None, is_local and table.time_zone is None, recipe.name)


def _time_zone(inference: Inference, ask: Ask) -> str | None:
    """Return the time zone of times without an offset; None if all have one."""
    local = next((each for each in inference.conclusions if each.has_local_times), None)
    if local is None:
        return None
    zones = [recipe.settings.sources.time_zone for recipe in inference.recipes]
    default = next((zone for zone in zones if zone != "UTC"), _system_zone())
    times = local.table.columns.get(TIMESTAMP, "times")
    column = times if isinstance(times, str) else " and ".join(times)
    return ask(time_zone_question(local.table.name, column, default, zone_problem))


def zone_problem(name: str) -> str | None:
    """Return what is wrong with the name of a time zone; None if it is one."""
    try:
        TypeAdapter(TimeZone).validate_python(name)
    except ValidationError:
        return f"{name!r} is no time zone; expected a name such as Europe/London"
    return None


def _system_zone() -> str:
    """Return the time zone of this computer, UTC if it is not named."""
    linked = str(LOCAL_TIME.resolve()).partition("/zoneinfo/")[2]
    names = (os.environ.get("TZ", ""), linked)
    zone = next((name for name in names if name and zone_problem(name) is None), "UTC")
    return "UTC" if zone.endswith(("UTC", "UCT", "Zulu", "Universal")) else zone


def _repeat(inference: Inference, previews: list[Preview]) -> tuple[str, str]:
    """Return whether users see again what they have bought, and why."""
    given = next(
        (recipe.settings.repeat for recipe in inference.recipes if recipe.settings.repeat == "allow"), None
    )
    if given is not None:
        return given, "users may see items again that they have bought"
    kinds = {each.table.name: each.table.kind for each in inference.conclusions}
    events = [preview.rows for preview in previews if kinds[preview.table] == "events"]
    share = repeat_share(events, not_recommendable(inference))
    if share is None:
        return "exclude", 'an item that a user has bought is not recommended again; "allow" changes that'
    counted = f"{share:.0%} of the purchases in the sample repeat one of the same user on an earlier day"
    return ("allow" if share >= MIN_REPEATS else "exclude"), counted
