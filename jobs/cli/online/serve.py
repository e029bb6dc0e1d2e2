"""`recsys serve`: replace this process with the HTTP server."""

from dataclasses import replace
from typing import Annotated

import typer

from jobs.server_process import exec_server
from recsys.settings import Settings

commands = typer.Typer()


@commands.command()
def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: serving.host)")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Port to listen on (default: serving.port)")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Number of worker processes (default: serving.workers)")
    ] = None,
) -> None:
    """Serve recommendations over HTTP from the live lists until SIGTERM or Ctrl-C."""
    settings: Settings = context.obj
    options = {"host": host, "port": port, "workers": workers}
    serving = replace(settings.serving, **{name: value for name, value in options.items() if value is not None})
    exec_server(replace(settings, serving=serving), context.find_root().params["config"])
