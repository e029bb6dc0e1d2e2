"""`recsys keys`: API keys made, listed and revoked."""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jobs.cli import render
from jobs.cli.options import AsJson
from jobs.scheduler.lock import job_lock
from recsys.api_keys import API_KEYS_FILE, SCOPES, ApiKeys, Scope, create_key, load_keys, save_keys
from recsys.settings import Settings

LOCK = "keys"

keys_app = typer.Typer(help="API keys of the server: who may ask it for what.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME")]


class ScopeName(StrEnum):
    """What a key allows; each includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@keys_app.command("create")
def create(
    context: typer.Context,
    name: Name,
    scopes: Annotated[
        list[ScopeName],
        typer.Option("--scope", help="What it allows; may be repeated; admin includes write and read"),
    ],
    per_minute: Annotated[
        int, typer.Option("--per-minute", min=0, help="Most requests in a minute; 0 for any number")
    ] = 0,
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Do nothing where there is a key of this name already")
    ] = False,
) -> None:
    """Make a key and print its token, once."""
    given: list[Scope] = [scope for scope in SCOPES if ScopeName(scope) in scopes]
    key, token = create_key(name, given, per_minute, datetime.now(UTC))
    if if_missing and name in load_keys(_file(context)).keys:
        typer.echo(f"There is a key {name!r} already; its token was shown when it was made.", err=True)
        return
    _change(context, lambda keys: keys.with_key(key))
    typer.echo(token)
    typer.echo("This token is not stored and cannot be shown again.", err=True)


@keys_app.command("list")
def list_command(context: typer.Context, as_json: AsJson = False) -> None:
    """Print the keys without what proves them."""
    keys = sorted(load_keys(_file(context)).keys.values(), key=lambda key: key.name)
    if as_json:
        render.print_json([render.shown_key(key) for key in keys])
    else:
        render.show_keys(keys)


@keys_app.command("revoke")
def revoke(context: typer.Context, name: Name) -> None:
    """Remove a key; its token is worth nothing from then on."""
    _change(context, lambda keys: keys.without_key(name))
    typer.echo(f"The key {name} is revoked.")


def _file(context: typer.Context) -> Path:
    settings: Settings = context.obj
    return settings.directory / API_KEYS_FILE


def _change(context: typer.Context, change: Callable[[ApiKeys], ApiKeys]) -> None:
    """Read, change and write the keys, while no other process does."""
    file = _file(context)
    with job_lock(file.parent, LOCK):
        save_keys(file, change(load_keys(file)))
