"""`recsys pseudonyms`: rotate the keys of pseudonyms."""

from dataclasses import asdict

import typer

from jobs.audit import audit
from jobs.cli.options import AsJson
from jobs.cli.render import print_json
from jobs.progress import show_progress

commands = typer.Typer()
pseudonyms_app = typer.Typer(help="Rotate the keys under which users are stored.", no_args_is_help=True)
commands.add_typer(pseudonyms_app, name="pseudonyms")


@pseudonyms_app.callback()
def pseudonyms() -> None:
    """Rotate the keys under which users are stored."""


@pseudonyms_app.command("rotate")
def rotate_command(context: typer.Context, as_json: AsJson = False) -> None:
    """Take lake and Redis to the present pseudonym_key; run it again if it was killed, and restart the servers."""
    from jobs.pseudonyms.rotation import rotate

    audit(context.obj, "pseudonyms_rotate")
    with show_progress() as progress:
        result = rotate(context.obj, progress)
    if as_json:
        print_json(asdict(result))
    elif not result.seconds:
        typer.echo("Lake and Redis have these pseudonyms already.")
    else:
        typer.echo(
            f"Rotated {result.events:,} events and {result.moved:,} entries of Redis in {result.seconds:.1f} s. "
            "Restart the servers, and run `recsys nightly`."
        )
