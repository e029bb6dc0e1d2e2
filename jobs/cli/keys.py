"""`recsys keys`: create, list and revoke API keys."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.audit import audit
from jobs.cli.options import AsJson
from jobs.cli.render import console, make_table, print_json
from jobs.scheduler.lock import job_lock
from recsys.api_keys import API_KEYS_FILE, SCOPES, ApiKey, ApiKeys, Scope, create_key, load_keys, save_keys
from recsys.settings import Settings

LOCK = "keys"

commands = typer.Typer()
keys_app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)
commands.add_typer(keys_app, name="keys")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key")]


class ScopeName(StrEnum):
    """A scope of a key; each scope includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@keys_app.command("create")
def create(
    context: typer.Context,
    name: Name,
    scopes: Annotated[
        list[ScopeName],
        typer.Option(
            "--scope", help="What the key permits; may be repeated; admin includes write, write includes read"
        ),
    ],
    per_minute: Annotated[
        int, typer.Option("--per-minute", min=0, help="Maximum number of requests per minute; 0 for no limit")
    ] = 0,
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Do nothing if a key of this name exists")
    ] = False,
) -> None:
    """Create a key and print its token, which is shown only once."""
    scope_list: list[Scope] = [scope for scope in SCOPES if ScopeName(scope) in scopes]
    key, token = create_key(name, scope_list, per_minute, datetime.now(UTC))
    if if_missing and name in load_keys(_file(context)).keys:
        typer.echo(f"A key {name!r} exists already; its token was shown when it was created.", err=True)
        return
    limit = f", {per_minute} requests per minute" if per_minute else ""
    _change(context, lambda keys: keys.with_key(key), "key_create", name, f"{', '.join(scope_list)}{limit}")
    typer.echo(token)
    typer.echo("This token is not stored and cannot be shown again.", err=True)


@keys_app.command("list")
def list_command(context: typer.Context, as_json: AsJson = False) -> None:
    """Print the keys without their tokens."""
    keys = sorted(load_keys(_file(context)).keys.values(), key=lambda key: key.name)
    if as_json:
        print_json([_describe(key) for key in keys])
    else:
        _print_keys(keys)


@keys_app.command("revoke")
def revoke(context: typer.Context, name: Name) -> None:
    """Remove a key; its token is invalid from then on."""
    _change(context, lambda keys: keys.without_key(name), "key_revoke", name)
    typer.echo(f"The key {name} is revoked.")
    if not load_keys(_file(context)).keys:
        typer.echo("No key is left: the server refuses every request until `recsys keys create` makes one.")


def _file(context: typer.Context) -> Path:
    settings: Settings = context.obj
    return settings.directory / API_KEYS_FILE


def _change(
    context: typer.Context,
    change: Callable[[ApiKeys], ApiKeys],
    action: str,
    name: str,
    detail: str | None = None,
) -> None:
    """Read, change and write the keys under a lock, once the change of the key `name` is in the audit log."""
    file = _file(context)
    with job_lock(file.parent, LOCK):
        changed = change(load_keys(file))
        audit(context.obj, action, subject=name, detail=detail)
        save_keys(file, changed)


def _describe(key: ApiKey) -> dict[str, Any]:
    """Return the fields of a key without the hash of its token."""
    return {
        "name": key.name,
        "scopes": [scope for scope in SCOPES if scope in key.scopes],
        "requests_per_minute": key.requests_per_minute,
        "created_at": key.created_at,
    }


def _print_keys(keys: Sequence[ApiKey]) -> None:
    table = make_table("API keys", "name", "scopes", "created (UTC)", right=("per minute",))
    for key in keys:
        limit = f"{key.requests_per_minute:,}" if key.requests_per_minute else "no limit"
        scopes = ", ".join(_describe(key)["scopes"])
        table.add_row(key.name, scopes, f"{key.created_at:%Y-%m-%d %H:%M:%S}", limit)
    console.print(table)
