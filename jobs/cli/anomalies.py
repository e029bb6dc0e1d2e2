"""`recsys anomalies`: who is held back, why, and what an analyst says of them."""

from dataclasses import asdict
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated

import typer

from jobs.cli import render
from jobs.cli.options import AsJson
from jobs.experiments.backtest import backtest, event_days
from jobs.lake import open_lake
from jobs.pipeline.explanation import explain_user
from recsys.errors import SettingsError
from recsys.schema import is_id
from recsys.settings import Settings
from recsys.store.client.connect import Client, connect
from recsys.store.flags import list_flags, put_label
from recsys.store.keys import Keys

anomalies_app = typer.Typer(
    help="Users whose behaviour is no shopper's: list, explain, release, label.", no_args_is_help=True
)

User = Annotated[str, typer.Argument(metavar="USER")]
Hidden = Annotated[bool, typer.Option("--pseudonym", help="USER is a pseudonym, as `list` prints it")]


class LabelName(StrEnum):
    """What an analyst says of a user."""

    BOT = "bot"
    FINE = "fine"


@anomalies_app.command("list")
def list_command(
    context: typer.Context,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Most users to list")] = 100,
    offset: Annotated[int, typer.Option(min=0, help="Users to pass over")] = 0,
    as_json: AsJson = False,
) -> None:
    """Print who is held back, those held back longest first."""
    client, keys = _store(context)
    flags = list_flags(client, keys, datetime.now(UTC), n, offset)
    if as_json:
        render.print_json([asdict(flag) for flag in flags])
    else:
        render.show_flags(flags)


@anomalies_app.command("explain")
def explain(context: typer.Context, user: User, is_hidden: Hidden = False, as_json: AsJson = False) -> None:
    """Print why a user is held back, and what the latest nightly run says of the user."""
    found = explain_user(context.obj, _stored_id(context, user, is_hidden))
    if as_json:
        render.print_json(asdict(found))
    else:
        render.show_explanation(user, found)


@anomalies_app.command("release")
def release_command(context: typer.Context, user: User, is_hidden: Hidden = False) -> None:
    """Hold a user back no longer, nor ever again automatically; kept as the label fine."""
    stored_id = _stored_id(context, user, is_hidden)
    client, keys = _store(context)
    put_label(client, keys, stored_id, "fine", datetime.now(UTC))
    typer.echo(f"{user} is released.")


@anomalies_app.command("label")
def label(
    context: typer.Context,
    user: User,
    label: Annotated[LabelName, typer.Argument()],
    is_hidden: Hidden = False,
) -> None:
    """Say what a user is: a bot is held back at once, who is fine is released."""
    stored_id = _stored_id(context, user, is_hidden)
    client, keys = _store(context)
    put_label(client, keys, stored_id, label.value, datetime.now(UTC))
    typer.echo(f"{user} is labelled {label.value}.")


@anomalies_app.command("backtest")
def backtest_command(
    context: typer.Context,
    day: Annotated[str | None, typer.Option(help="UTC day, as 2026-03-01 (default: the lake's latest)")] = None,
    as_json: AsJson = False,
) -> None:
    """Replay a day's events: who would have been flagged, when and why, with the settings as they are."""
    settings: Settings = context.obj
    lake = open_lake(settings)
    found = backtest(lake, settings, _day(day) if day is not None else _latest(event_days(lake)))
    if as_json:
        render.print_json(asdict(found) | {"share": found.share})
    else:
        render.show_backtest(found)


def _store(context: typer.Context) -> tuple[Client, Keys]:
    settings: Settings = context.obj
    return connect(settings.redis, settings.directory), Keys(settings.redis.namespace)


def _stored_id(context: typer.Context, user: str, is_hidden: bool) -> str:
    if not is_id(user):
        raise SettingsError(
            f"USER = {user!r}: expected 1 to 128 characters, none white space or a control character"
        )
    lake = open_lake(context.obj)
    return user if is_hidden else lake.stored_id(user)


def _day(given: str) -> date:
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise SettingsError(f"--day = {given!r}: expected a date such as 2026-03-01") from None


def _latest(found: list[date]) -> date:
    if not found:
        raise SettingsError("the lake has no events: run `recsys ingest` or `recsys archive`")
    return found[-1]
