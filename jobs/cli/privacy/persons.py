"""`recsys erase`, `export`, `consent` and `retention`: what is kept of persons, and how long."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from jobs.audit import audit, audit_users
from jobs.cli.data.ingest import archive_stream
from jobs.cli.options import AsJson, Scheduled
from jobs.cli.render import console, make_table, print_json, print_path
from jobs.cli.schedule import run_exclusively
from jobs.erasure.erase import Erasure, finish_erasures, request_erasure
from jobs.erasure.export import export_person, write_export
from jobs.erasure.persons import Installation
from jobs.erasure.receipts import Receipt
from jobs.erasure.verify import Verification, verify
from jobs.lake.lake import open_lake
from jobs.lake.opt_outs import change_opt_outs, read_opt_outs
from jobs.progress import show_progress
from jobs.retention import apply_retention
from jobs.scheduler.scheduler import JobName
from recsys.errors import BusyError, SettingsError, SourceError, StateError
from recsys.schema import is_id
from recsys.settings import Settings
from recsys.store.client.connect import connect
from recsys.store.keys import Keys
from recsys.store.opt_outs import put_opt_out, remove_opt_out

commands = typer.Typer()
consent_app = typer.Typer(help="Show, refuse or give a user's consent to personal lists.", no_args_is_help=True)
commands.add_typer(consent_app, name="consent")

Users = Annotated[list[str] | None, typer.Argument(metavar="USER…", help="User ids")]
UsersFile = Annotated[
    Path | None, typer.Option("--file", metavar="USERS.txt", help="File of user ids, one on each line")
]
Forever = Annotated[
    bool, typer.Option("--forever", help="Also keep out what the ids do later; else it is of new persons")
]
Pending = Annotated[bool, typer.Option("--pending", help="Finish the erasures that are queued")]
ReceiptFile = Annotated[
    Path | None,
    typer.Option("--verify", metavar="RECEIPT", help="Check a receipt, and search again for USER, or for all"),
]
User = Annotated[str, typer.Argument(metavar="USER", help="User id")]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write to a file only you may read")]


@commands.command("erase")
def erase_command(
    context: typer.Context,
    users: Users = None,
    file: UsersFile = None,
    pending: Pending = False,
    receipt: ReceiptFile = None,
    forever: Forever = False,
    as_json: AsJson = False,
) -> None:
    """Erase persons from Redis, the lake and the runs, with a receipt; or verify a receipt."""
    settings: Settings = context.obj
    named = [*(users or ()), *(_read_users(file) if file is not None else ())]
    if receipt is not None:
        _verify(settings, receipt, named, as_json)
        return
    if not named and not pending:
        raise SettingsError("no user is named: give user ids, --file USERS.txt, or --pending")
    named = list(map(_checked_id, named))
    installation = Installation.open(settings)
    if named:
        users = [installation.lake.stored_id(user) for user in named]
        audit_users(settings, "erase", users, "forever" if forever else None)
        request_erasure(installation, users, forever)
    _print_erasures(_finish(settings, installation), as_json)


@commands.command("export")
def export_command(context: typer.Context, user: User, out: Out = None) -> None:
    """Export all data of a person as JSON: events, sessions, lists, flags, rows in quarantine."""
    installation = Installation.open(context.obj)
    stored_id = installation.lake.stored_id(_checked_id(user))
    audit(context.obj, "export", user_id=stored_id)
    exported = export_person(installation, stored_id)
    if out is None:
        print_json(exported)
        return
    write_export(out, exported)
    print_path("Export", out)


@consent_app.command("show")
def show(context: typer.Context, user: User) -> None:
    """Print whether a user wants personal lists."""
    lake = open_lake(context.obj)
    stored_id = lake.stored_id(_checked_id(user))
    audit(context.obj, "consent", user_id=stored_id)
    since = dict(read_opt_outs(lake.directory).iter_rows()).get(stored_id)
    typer.echo(f"{user} gets personal lists." if since is None else f"{user} has opted out since {since:%Y-%m-%d}.")


@consent_app.command("refuse")
def refuse(context: typer.Context, user: User) -> None:
    """Give a user popular lists only, and take no more events of the user; an erasure keeps this."""
    _change_consent(context.obj, user, is_opted_out=True)
    typer.echo(f"{user} has opted out: popular lists only, and no events.")


@consent_app.command("give")
def give(context: typer.Context, user: User) -> None:
    """Give a user personal lists again, from the next night on."""
    _change_consent(context.obj, user, is_opted_out=False)
    typer.echo(f"{user} gets personal lists.")


@commands.command()
def retention(context: typer.Context, as_json: AsJson = False, scheduled: Scheduled = False) -> None:
    """Remove data that is older than the settings in `[retention]` keep it."""
    settings: Settings = context.obj
    days = {name: value for name, value in asdict(settings.retention).items() if value}
    with run_exclusively(settings, JobName.RETENTION, scheduled):
        if days:
            audit(settings, "retention", detail=", ".join(f"{name} {value:g}" for name, value in days.items()))
        removed = apply_retention(settings, datetime.now(UTC))
    if as_json:
        print_json(asdict(removed))
        return
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in asdict(removed).items())
    typer.echo(f"Removed {counts}.")


def _finish(settings: Settings, installation: Installation) -> list[Erasure]:
    """Archive the stream, and finish all erasures; while another job is at work, they stay queued."""
    try:
        with run_exclusively(settings, JobName.ARCHIVE, scheduled=False):
            with show_progress() as progress:
                archive_stream(settings, progress)
            return finish_erasures(installation)
    except BusyError as error:
        waiting = "Erased from Redis; the lake follows with the next archive, or `recsys erase --pending`"
        typer.echo(f"{waiting}: {error}", err=True)
        return []


def _verify(settings: Settings, file: Path, users: Sequence[str], as_json: bool) -> None:
    if len(users) > 1:
        raise SettingsError(f"--verify: expected one user at most, not {len(users)}")
    if not file.is_file():
        raise SettingsError(f"--verify = {str(file)!r}: expected a receipt")
    installation = Installation.open(settings)
    user = installation.lake.stored_id(users[0]) if users else None
    verification = verify(installation, file, user)
    if as_json:
        print_json({"receipt": asdict(verification.receipt), "found": verification.found})
    else:
        _print_verification(verification)
    if verification.found:
        places = ", ".join(f"{count:,} in {name}" for name, count in verification.found.items())
        raise StateError(f"{file}: erased persons are found: {places}")


def _read_users(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"--file = {str(file)!r}: cannot be read: {error}") from None
    return [line.strip() for line in lines if line.strip()]


def _checked_id(user: str) -> str:
    if not is_id(user):
        raise SettingsError(
            f"USER = {user!r}: expected 1 to 128 characters, none white space or a control character"
        )
    return user


def _print_erasures(erasures: Sequence[Erasure], as_json: bool) -> None:
    if as_json:
        print_json([{"file": erasure.file, "receipt": asdict(erasure.receipt)} for erasure in erasures])
        return
    for erasure in erasures:
        _print_receipt(erasure.receipt)
        print_path("Receipt", erasure.file)
    if not erasures:
        typer.echo("No erasure was finished.")


def _print_receipt(receipt: Receipt) -> None:
    table = make_table(
        f"Erased: {len(receipt.subjects):,} users, {receipt.guests:,} guests", "place", right=("erased",)
    )
    for name, count in receipt.counts.items():
        if count:
            table.add_row(escape(name), f"{count:,}")
    console.print(table)
    if not any(receipt.counts.values()):
        console.print("Nothing of them was found: are the ids right?")
    for work in receipt.pending if receipt.is_pending else ():
        console.print(f"Pending: {escape(work)}", soft_wrap=True)


def _print_verification(verification: Verification) -> None:
    receipt = verification.receipt
    console.print(
        f"The signature is right: {len(receipt.subjects):,} users, erased {receipt.finished_at:%Y-%m-%d %H:%M} UTC"
    )
    if receipt.is_pending:
        console.print("Pending: " + escape("; ".join(receipt.pending)), soft_wrap=True)
    if not verification.found:
        console.print("Nothing of them was found.")


def _change_consent(settings: Settings, user: str, is_opted_out: bool) -> None:
    """Change the lake, then Redis: a command that is killed in between is repeated by hand."""
    lake, now = open_lake(settings), datetime.now(UTC)
    stored_id = lake.stored_id(_checked_id(user))
    client, keys = connect(settings.redis, settings.directory), Keys(settings.redis.namespace)
    audit(settings, "opt_out" if is_opted_out else "opt_in", user_id=stored_id)
    with lake.locked():
        change_opt_outs(lake.directory, [(stored_id, now, is_opted_out)])
    if is_opted_out:
        put_opt_out(client, keys, stored_id, now)
    else:
        remove_opt_out(client, keys, stored_id, now)
