"""`recsys anomalies`: list, explain, release and label users who are flagged as bots."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from jobs.audit import audit
from jobs.cli.options import AsJson, IsPseudonym
from jobs.cli.render import console, make_table, print_json
from jobs.lake.lake import open_lake
from jobs.lake.pseudonym_key import stored_user_id
from recsys.errors import SettingsError
from recsys.pseudonyms import Pseudonyms
from recsys.settings import Settings
from recsys.store.client.connect import Client, connect
from recsys.store.flags import Flag, list_flags, put_label
from recsys.store.keys import Keys
from recsys.store.pseudonym_key import check_store_unchanged

if TYPE_CHECKING:
    from jobs.experiments.backtest import Backtest
    from jobs.pipeline.explanation import UserExplanation
    from recsys.evaluation.report.contents import Suspect

commands = typer.Typer()
anomalies_app = typer.Typer(
    help="List, explain, release and label users who are flagged as bots.", no_args_is_help=True
)
commands.add_typer(anomalies_app, name="anomalies")

User = Annotated[str, typer.Argument(metavar="USER", help="User id")]


class LabelName(StrEnum):
    """An analyst's decision about a user."""

    BOT = "bot"
    FINE = "fine"


@anomalies_app.command("list")
def list_command(
    context: typer.Context,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Maximum number of users")] = 100,
    offset: Annotated[int, typer.Option(min=0, help="Number of users to skip")] = 0,
    as_json: AsJson = False,
) -> None:
    """List the flagged users, those whose flags last longest first."""
    client, keys = _store(context)
    audit(context.obj, "anomalies")
    flags = list_flags(client, keys, datetime.now(UTC), n, offset)
    if as_json:
        print_json([asdict(flag) for flag in flags])
    else:
        _print_flags(flags)


@anomalies_app.command("explain")
def explain(context: typer.Context, user: User, is_pseudonym: IsPseudonym = False, as_json: AsJson = False) -> None:
    """Explain why a user is flagged, and show the result of the latest nightly run."""
    from jobs.pipeline.explanation import explain_user

    stored_id = stored_user_id(open_lake(context.obj).pseudonyms, user, is_pseudonym)
    audit(context.obj, "anomaly", user_id=stored_id)
    explanation = explain_user(context.obj, stored_id)
    if as_json:
        print_json(asdict(explanation))
    else:
        _print_explanation(user, explanation)


@anomalies_app.command("release")
def release_command(context: typer.Context, user: User, is_pseudonym: IsPseudonym = False) -> None:
    """Remove a user's flag, and never flag the user automatically again; same as the label fine."""
    stored_id = stored_user_id(open_lake(context.obj).pseudonyms, user, is_pseudonym)
    client, keys = _store(context)
    audit(context.obj, "release", user_id=stored_id, detail="fine")
    put_label(client, keys, stored_id, "fine", datetime.now(UTC))
    typer.echo(f"{user} is released.")


@anomalies_app.command("label")
def label(
    context: typer.Context,
    user: User,
    label: Annotated[LabelName, typer.Argument(help="Decision of an analyst")],
    is_pseudonym: IsPseudonym = False,
) -> None:
    """Label a user: a bot is flagged at once, a user who is fine is released."""
    stored_id = stored_user_id(open_lake(context.obj).pseudonyms, user, is_pseudonym)
    client, keys = _store(context)
    audit(context.obj, "label", user_id=stored_id, detail=label.value)
    put_label(client, keys, stored_id, label.value, datetime.now(UTC))
    typer.echo(f"{user} is labeled {label.value}.")


@anomalies_app.command("backtest")
def backtest_command(
    context: typer.Context,
    day: Annotated[
        str | None, typer.Option(help="UTC day, such as 2026-03-01 (default: the lake's latest)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay a day's events with the current settings, and show who would have been flagged, when and why."""
    from jobs.experiments.backtest import backtest, event_days

    settings: Settings = context.obj
    lake = open_lake(settings)
    audit(settings, "anomalies", detail="backtest")
    result = backtest(lake, settings, _parse_day(day) if day is not None else _latest(event_days(lake)))
    if as_json:
        print_json(asdict(result) | {"share": result.share})
    else:
        _print_backtest(result)


def _store(context: typer.Context) -> tuple[Client, Keys]:
    settings: Settings = context.obj
    client, keys = connect(settings.redis, settings.directory), Keys(settings.redis.namespace)
    check_store_unchanged(client, keys, Pseudonyms.from_settings(settings))
    return client, keys


def _parse_day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"--day = {text!r}: expected a date such as 2026-03-01") from None


def _latest(days_in_lake: list[date]) -> date:
    if not days_in_lake:
        raise SettingsError("the lake has no events: run `recsys ingest` or `recsys archive`")
    return days_in_lake[-1]


def _print_flags(flags: Sequence[Flag]) -> None:
    table = make_table("Flagged users", "user", "by", "since (UTC)", "until (UTC)", "why", right=("score",))
    for flag in flags:
        times = (f"{flag.since:%Y-%m-%d %H:%M:%S}", f"{flag.until:%Y-%m-%d %H:%M:%S}")
        table.add_row(
            escape(flag.user_id), flag.source, *times, escape("; ".join(flag.reasons)), f"{flag.score:.1f}"
        )
    console.print(table)


def _print_explanation(typed_id: str, explanation: "UserExplanation") -> None:
    """Print the explanation of a user, who is named as typed."""
    user = escape(typed_id)
    if explanation.flag is None:
        console.print(f"{user} is not flagged.")
    else:
        _print_flags([explanation.flag])
    if explanation.released:
        console.print(f"An analyst has released {user}: the user is not flagged automatically.")
    if explanation.run is None:
        console.print("No nightly run has screened users yet.")
    elif explanation.nightly is None:
        console.print(f"The nightly run {explanation.run} has no finding about {user}.")
    else:
        _print_suspect(explanation.run, explanation.nightly)


def _print_suspect(run: str, suspect: "Suspect") -> None:
    table = make_table(f"Nightly run {run}", "user", "found by", "screened out", "why", right=("events", "score"))
    why = escape("; ".join(suspect.reasons))
    screened = "yes" if suspect.screened else "no"
    table.add_row(
        escape(suspect.user_id), suspect.origin, screened, why, f"{suspect.events:,}", f"{suspect.score:.1f}"
    )
    console.print(table)


def _print_backtest(result: "Backtest") -> None:
    table = make_table(f"Flags of {result.day}", "time (UTC)", "user", "why", "", right=("score",))
    for flag in result.flags:
        state = "suppressed by the circuit breaker" if flag.held_back else ""
        why = escape("; ".join(flag.reasons))
        table.add_row(f"{flag.at:%H:%M:%S}", escape(flag.user_id), why, state, f"{flag.score:.1f}")
    console.print(table)
    console.print(f"{result.share:.2%} of {result.users:,} users would be flagged, from {result.events:,} events")
