"""`recsys publish` and `recsys rollback`: change which version of the lists is live."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import polars as pl
import structlog
import typer

from jobs.audit import audit
from jobs.cli.options import AsJson, AsOf, parse_as_of
from jobs.cli.render import console, print_json
from jobs.lake.lake import open_lake
from jobs.pipeline.run import COMPLETE, Run, list_runs, run_id
from jobs.progress import show_progress
from recsys.errors import RecsysError, RunError
from recsys.schema import AVAILABLE, CHANGED_ONLINE_AT, ITEM_DTYPES, ITEM_ID, ONLINE_CHANGE_DTYPES, STOCK
from recsys.settings import Settings
from recsys.store.client.connect import connect
from recsys.store.item_changes import follow_catalogue
from recsys.store.keys import Keys
from recsys.store.publish.versions import roll_back

if TYPE_CHECKING:
    from recsys.store.publish.publish import PublishResult

AVAILABILITY_COLUMNS = (ITEM_ID, AVAILABLE, STOCK, CHANGED_ONLINE_AT)
log = structlog.get_logger(__name__)

commands = typer.Typer()


@commands.command()
def publish(context: typer.Context, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Load the lists of a complete run into Redis again: the run of --as-of, by default the latest."""
    from jobs.pipeline.steps.publish import publish_run  # compiles code that rolling back does not need

    settings: Settings = context.obj
    with show_progress() as progress:
        published = publish_run(_find_complete_run(settings, as_of), settings, progress)
    if as_json:
        print_json(asdict(published))
    else:
        print_published(published)


@commands.command()
def rollback(
    context: typer.Context,
    version: Annotated[str | None, typer.Argument(help="Version to make live (default: the previous one)")] = None,
    as_json: AsJson = False,
) -> None:
    """Make the lists of an older version live again."""
    settings: Settings = context.obj
    client = connect(settings.redis, settings.directory)
    keys, items = Keys(settings.redis.namespace), _latest_availability(settings)

    def prepare(target: str) -> None:
        audit(settings, "rollback", subject=target)
        follow_catalogue(client, keys, target, items)

    result = roll_back(client, keys, version, prepare)
    if as_json:
        print_json(asdict(result))
    else:
        console.print(f"Version [bold]{result.version}[/] is live again; it was {result.previous}")


def _latest_availability(settings: Settings) -> pl.DataFrame:
    """Return what the lake last knew of the availability of items; of none if it cannot be read, as elsewhere."""
    columns = {name: {**ITEM_DTYPES, **ONLINE_CHANGE_DTYPES}[name] for name in AVAILABILITY_COLUMNS}
    try:
        lake = open_lake(settings)
        items = lake.items().join(lake.online_changes().lazy(), on=ITEM_ID, how="left")
        return items.select(*columns).collect()
    except (RecsysError, OSError, pl.exceptions.PolarsError) as error:
        log.warning("availability is not updated, as the lake cannot be read", error=str(error))
        return pl.DataFrame(schema=columns)


def _find_complete_run(settings: Settings, as_of: str | None) -> Run:
    """Find the complete run of `as_of`, or the latest; raises `RunError` if there is none."""
    expected = None if as_of is None else run_id(parse_as_of(as_of))
    for run in list_runs(settings.directory):
        if run.manifest()["status"] == COMPLETE and expected in (None, run.id):
            return run
    raise RunError(
        f"no complete run{f' {expected}' if expected else ''} under {settings.directory}: run `recsys nightly`"
    )


def print_published(published: "PublishResult") -> None:
    """Print which version is live now."""
    console.print(
        f"Published version [bold]{published.version}[/]: {published.keys:,} lists, "
        f"{published.bytes / 2**20:.1f} MB, in {published.seconds:.1f} s"
    )
    if published.cut_to is not None:
        console.print(f"Lists were cut to {published.cut_to} items to fit redis.max_memory")
