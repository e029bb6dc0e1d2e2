"""`recsys consent`: show, refuse or give a user's consent to personal lists."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from jobs.audit import audit
from jobs.lake.lake import open_lake
from jobs.lake.opt_outs import change_opt_outs, read_opt_outs
from recsys.errors import SettingsError
from recsys.schema import is_id
from recsys.settings import Settings
from recsys.store.client.connect import connect
from recsys.store.keys import Keys
from recsys.store.opt_outs import put_opt_out, remove_opt_out

commands = typer.Typer()
consent_app = typer.Typer(help="Show, refuse or give a user's consent to personal lists.", no_args_is_help=True)
commands.add_typer(consent_app, name="consent")

User = Annotated[str, typer.Argument(metavar="USER", help="User id")]


@consent_app.command("show")
def show(context: typer.Context, user: User) -> None:
    """Print whether a user wants personal lists."""
    lake = open_lake(context.obj)
    since = dict(read_opt_outs(lake.directory).iter_rows()).get(lake.stored_id(_checked(user)))
    typer.echo(f"{user} gets personal lists." if since is None else f"{user} has opted out since {since:%Y-%m-%d}.")


@consent_app.command("refuse")
def refuse(context: typer.Context, user: User) -> None:
    """Give a user popular lists only, and take no more events of the user; an erasure keeps this."""
    _change(context.obj, user, is_opted_out=True)
    typer.echo(f"{user} has opted out: popular lists only, and no events.")


@consent_app.command("give")
def give(context: typer.Context, user: User) -> None:
    """Give a user personal lists again, from the next night on."""
    _change(context.obj, user, is_opted_out=False)
    typer.echo(f"{user} gets personal lists.")


def _change(settings: Settings, user: str, is_opted_out: bool) -> None:
    """Change the lake, then Redis: a command that is killed in between is repeated by hand."""
    lake, now = open_lake(settings), datetime.now(UTC)
    stored_id = lake.stored_id(_checked(user))
    client, keys = connect(settings.redis, settings.directory), Keys(settings.redis.namespace)
    audit(settings, "opt_out" if is_opted_out else "opt_in", user_id=stored_id)
    with lake.locked():
        change_opt_outs(lake.directory, [(stored_id, now, is_opted_out)])
    if is_opted_out:
        put_opt_out(client, keys, stored_id, now)
    else:
        remove_opt_out(client, keys, stored_id)


def _checked(user: str) -> str:
    if not is_id(user):
        raise SettingsError(
            f"USER = {user!r}: expected 1 to 128 characters, none white space or a control character"
        )
    return user
