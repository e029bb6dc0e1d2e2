"""`recsys keys`: create, list, rotate and revoke API keys, and disable them all."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from jobs.audit import audit
from jobs.cli.options import AsJson
from jobs.cli.render import console, make_table, print_json
from jobs.scheduler.lock import job_lock
from recsys.api_key_file import KeyFile
from recsys.api_keys import SCOPES, ApiKey, ApiKeys, Scope, create_key, parse_scope, rotate_key
from recsys.errors import ApiKeyError
from recsys.settings import Settings

LOCK = "keys"
DURATION = re.compile(r"([0-9]{1,5})([dhm])")
UNITS = {"d": "days", "h": "hours", "m": "minutes"}
NO_TOKEN = "This token is not stored and cannot be shown again."

commands = typer.Typer()
keys_app = typer.Typer(help="Create, list, rotate and revoke API keys.", no_args_is_help=True)
commands.add_typer(keys_app, name="keys")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key")]
Expires = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="End of the key: from now on as in 90d or 12h, or a date such as 2027-01-31"),
]


@keys_app.command("create")
def create(
    context: typer.Context,
    name: Name,
    scopes: Annotated[
        list[str],
        typer.Option("--scope", help=f"What the key permits: one of {', '.join(SCOPES)}; may be repeated"),
    ],
    per_minute: Annotated[
        int, typer.Option("--per-minute", min=0, help="Maximum number of requests per minute; 0 for no limit")
    ] = 0,
    expires: Expires = None,
    networks: Annotated[
        list[str] | None,
        typer.Option("--network", help="Network whose clients may use the key, as in 10.0.0.0/8; may be repeated"),
    ] = None,
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Do nothing if a key of this name exists")
    ] = False,
) -> None:
    """Create a key and print its token, which is shown only once."""
    now = datetime.now(UTC)
    allowed: list[Scope] = [parse_scope(scope) for scope in scopes]
    key, token = create_key(name, allowed, per_minute, now, _parse_end(expires, now), networks or ())
    if if_missing and name in _file(context).load_all().keys:
        typer.echo(f"A key {name!r} exists already; its token was shown when it was created.", err=True)
        return
    _change(context, lambda keys: keys.with_key(key), "key_create", name, _limits(key))
    _print_token(token)


@keys_app.command("list")
def list_command(context: typer.Context, as_json: AsJson = False) -> None:
    """Print the keys without their tokens."""
    file = _file(context)
    keys = sorted(file.load_all().keys.values(), key=lambda key: key.name)
    rows = [_describe(key, file.last_use(key.name)) for key in keys]
    if as_json:
        print_json(rows)
    else:
        _print_keys(rows)


@keys_app.command("rotate")
def rotate(
    context: typer.Context,
    name: Name,
    overlap: Annotated[
        str, typer.Option(metavar="TIME", help="Time for which the token before stays valid, as in 7d, 12h or 0d")
    ] = "7d",
    expires: Expires = None,
) -> None:
    """Give a key a new token and print it; the token before stays valid for a while."""
    now = datetime.now(UTC)
    duration, end = _parse_duration(overlap), _parse_end(expires, now)
    file = _file(context)
    with job_lock(file.path.parent, LOCK):
        keys = file.load_all()
        key, token = rotate_key(keys.get(name), duration, now, end)
        audit(context.obj, "key_rotate", subject=name, detail=f"overlap {overlap}")
        file.save(keys.with_replaced(key))
    _print_token(token)
    if key.previous_until is not None:
        typer.echo(f"The token before is valid until {key.previous_until:%Y-%m-%d %H:%M} UTC.", err=True)


@keys_app.command("revoke")
def revoke(context: typer.Context, name: Name) -> None:
    """Remove a key; its token is invalid from then on."""
    _change(context, lambda keys: keys.without_key(name), "key_revoke", name)
    file = _file(context)
    file.forget_use(name)
    typer.echo(f"The key {name} is revoked.")
    if not file.load_all():
        typer.echo(
            "No key is left: the server refuses every request until `recsys keys create` makes one, or "
            "`recsys keys disable` opens it to this machine."
        )


@keys_app.command("disable")
def disable(
    context: typer.Context,
    is_sure: Annotated[bool, typer.Option("--yes", help="Do not ask whether all keys are to be removed")] = False,
) -> None:
    """Remove all keys, so that a server on a loopback address answers without one."""
    file = _file(context)
    if not is_sure:
        typer.confirm("Remove all API keys? This machine then needs none.", abort=True)
    with job_lock(file.path.parent, LOCK):
        audit(context.obj, "keys_disable")
        file.disable()
    typer.echo("There are no API keys: a server on a loopback address answers without one, any other refuses.")


def _file(context: typer.Context) -> KeyFile:
    settings: Settings = context.obj
    return KeyFile.of(settings.directory)


def _change(
    context: typer.Context,
    change: Callable[[ApiKeys], ApiKeys],
    action: str,
    name: str,
    detail: str | None = None,
) -> None:
    """Read, change and write the keys under a lock, once the change of the key `name` is in the audit log."""
    file = _file(context)
    with job_lock(file.path.parent, LOCK):
        changed = change(file.load_all())
        audit(context.obj, action, subject=name, detail=detail)
        file.save(changed)


def _limits(key: ApiKey) -> str:
    """Return what a key allows, as the audit log has it."""
    limits: list[str] = [scope for scope in SCOPES if scope in key.scopes]
    if key.requests_per_minute:
        limits.append(f"{key.requests_per_minute} requests per minute")
    if key.networks:
        limits.append(f"from {' '.join(key.networks)}")
    if key.expires_at is not None:
        limits.append(f"until {key.expires_at:%Y-%m-%d %H:%M} UTC")
    return ", ".join(limits)


def _parse_duration(text: str) -> timedelta:
    match = DURATION.fullmatch(text)
    if match is None:
        raise ApiKeyError(f"{text!r}: expected a time such as 90d, 12h or 30m")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def _parse_end(text: str | None, now: datetime) -> datetime | None:
    """Return the moment that a duration from now on, or a date or time, names; times without a zone are UTC."""
    if text is None:
        return None
    if DURATION.fullmatch(text):
        return now + _parse_duration(text)
    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        raise ApiKeyError(f"{text!r}: expected a time such as 90d or 12h, or a date such as 2027-01-31") from None
    return end.astimezone(UTC) if end.tzinfo else end.replace(tzinfo=UTC)


def _print_token(token: str) -> None:
    typer.echo(token)
    typer.echo(NO_TOKEN, err=True)


def _describe(key: ApiKey, last_use: datetime | None) -> dict[str, Any]:
    """Return the fields of a key without the hashes of its tokens."""
    return {
        "name": key.name,
        "scopes": [scope for scope in SCOPES if scope in key.scopes],
        "requests_per_minute": key.requests_per_minute,
        "networks": list(key.networks),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "previous_until": key.previous_until,
        "last_used_at": last_use,
    }


def _print_keys(rows: Sequence[dict[str, Any]]) -> None:
    columns = ("name", "scopes", "networks", "created (UTC)", "expires", "last used")
    table = make_table("API keys", *columns, right=("per minute",))
    for row in rows:
        limit = f"{row['requests_per_minute']:,}" if row["requests_per_minute"] else "no limit"
        table.add_row(
            row["name"],
            ", ".join(row["scopes"]),
            ", ".join(row["networks"]) or "any",
            _text(row["created_at"], ""),
            _text(row["expires_at"], "never"),
            _text(row["last_used_at"], "never"),
            limit,
        )
    console.print(table)


def _text(moment: datetime | None, missing: str) -> str:
    return missing if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"
