"""`recsys users`: export the users of a run for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.audit import audit
from jobs.cli.options import AsOf, parse_as_of
from jobs.cli.render import print_path
from recsys.settings import Settings

commands = typer.Typer()
users_app = typer.Typer(help="Export profiles, segments and forecasts of all users.", no_args_is_help=True)
commands.add_typer(users_app, name="users")


@users_app.command("export")
def export(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write, .parquet or .csv")],
    as_of: AsOf = None,
    dictionary: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="File of what the columns mean (default: beside FILE)"),
    ] = None,
) -> None:
    """Export all users of the latest run, or of the run of --as-of, with a data dictionary."""
    from jobs.lake.lake import open_lake
    from jobs.pipeline.run import run_id
    from jobs.user_export import export_users, find_run

    settings: Settings = context.obj
    run = find_run(settings.directory, None if as_of is None else run_id(parse_as_of(as_of)))
    audit(settings, "users_export", subject=run.id)
    meanings = dictionary or out.with_name(f"{out.stem}.dictionary.csv")
    users = export_users(run, open_lake(settings), out, meanings)
    print_path(f"{users:,} users of run {run.id}", out)
    print_path("What the columns mean", meanings)
