"""`recsys audit`: show, verify and rotate the log of what administrators did."""

from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from msgspec import structs
from rich.markup import escape

from jobs.audit import ROTATED_PREFIX, rotate_audit_log
from jobs.cli.options import AsJson
from jobs.cli.render import console, make_table, print_json
from jobs.lake.lake import open_lake
from recsys.audit.chain import AuditLine
from recsys.audit.log import AuditLog
from recsys.errors import SettingsError
from recsys.settings import Settings

commands = typer.Typer()
audit_app = typer.Typer(
    help="Show who did what and when, find changed or removed lines of the audit log, and rotate it.",
    no_args_is_help=True,
)
commands.add_typer(audit_app, name="audit")

Rotated = Annotated[
    str | None, typer.Option("--rotated", metavar="NAME", help="A rotated log, by the name that `rotate` printed")
]


@audit_app.command("show")
def show(
    context: typer.Context,
    since: Annotated[
        str | None, typer.Option(help="Only lines from this moment in UTC on, such as 2026-03-01T06:00")
    ] = None,
    action: Annotated[str | None, typer.Option(help="Only lines of this action, such as publish")] = None,
    user: Annotated[str | None, typer.Option(metavar="USER", help="Only lines about this user, by the id")] = None,
    is_pseudonym: Annotated[bool, typer.Option("--pseudonym", help="USER is a pseudonym")] = False,
    rotated: Rotated = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Maximum number of lines, the newest")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show the newest lines of the audit log; users are keyed hashes, and --user finds the lines of one."""
    settings: Settings = context.obj
    log, start = _find_log(settings, rotated), None if since is None else _parse_since(since)
    user_hash = None
    if user is not None and log.file.exists():
        user_hash = log.user_hash(user if is_pseudonym else open_lake(settings).stored_id(user))
    chosen = (
        line
        for line in log.lines()
        if (start is None or line.time >= start)
        and action in (None, line.action)
        and (user is None or line.user == user_hash)
    )
    lines = deque(chosen, maxlen=n)
    if as_json:
        print_json([structs.asdict(line) for line in lines])
    else:
        _print_lines(lines)


@audit_app.command("verify")
def verify(context: typer.Context, rotated: Rotated = None, as_json: AsJson = False) -> None:
    """Check that no line of the audit log was changed, added, moved or removed since it was written."""
    verified = _find_log(context.obj, rotated).verify()
    if as_json:
        report: dict[str, Any] = {"lines": verified.lines, "repairs": verified.repairs, "torn": verified.is_torn}
        print_json(report)
        return
    count = f"{verified.lines:,} lines are as they were"
    console.print(f"{'1 line is as it was' if verified.lines == 1 else count} written.")
    if verified.is_torn:
        console.print("The last line is cut off; the next line will tell so.")
    if verified.repairs:
        numbers = ", ".join(map(str, verified.repairs))
        console.print(
            f"Faults of the file were found and told in lines {numbers}: `recsys audit show`", soft_wrap=True
        )


@audit_app.command("rotate")
def rotate(context: typer.Context) -> None:
    """Move the log to a directory of its own, and begin another one; the server may run meanwhile."""
    name = rotate_audit_log(context.obj)
    typer.echo("There is no audit log." if name is None else name)


def _find_log(settings: Settings, rotated: str | None) -> AuditLog:
    """Return the log that is written to, or a rotated one."""
    if rotated is None:
        return AuditLog(settings.directory)
    names = sorted(path.name for path in settings.directory.glob(f"{ROTATED_PREFIX}*") if path.is_dir())
    if rotated not in names:
        raise SettingsError(f"--rotated = {rotated!r}: expected one of {', '.join(names) or 'none'}")
    return AuditLog(settings.directory / rotated)


def _parse_since(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"--since = {text!r}: expected a date or time such as 2026-03-01T06:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _print_lines(lines: Sequence[AuditLine]) -> None:
    table = make_table("Audit log", "line", "time (UTC)", "who", "from", "action", "about")
    for line in lines:
        about = (f"user {line.user[:16]}" if line.user else None, line.subject, line.detail)
        table.add_row(
            str(line.number),
            f"{line.time:%Y-%m-%d %H:%M:%S}",
            escape(line.actor or "no key"),
            escape(f"{line.via} {line.origin}"),
            escape(line.action),
            escape(": ".join(part for part in about if part)),
        )
    console.print(table)
