"""The `recsys` command: an index of commands, each imported when it runs."""

from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from jobs.cli.options import Config
from recsys.errors import RecsysError

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("demo", "Run everything on a year of a grocer's purchases, and show one customer buying something."),
    "init": ("data.init", "Look at files or a database, and write the recsys.toml that reads them."),
    "ingest": ("data.ingest", "Read files and queries into the lake; invalid rows are quarantined."),
    "check": ("data.check", "Check settings, sources, the first rows of each table, databases and Redis."),
    "quarantine": ("data.quarantine", "List and show the rows that broke a rule, and read them again."),
    "features": ("nightly.run", "Compute the features of a run (`recsys features describe` lists them)."),
    "train": ("nightly.run", "Compare the models on the validation window and fit the winner on all events."),
    "evaluate": ("nightly.run", "Train, rank items, and write the run's report.html."),
    "publish": ("nightly.publish", "Load the lists of a complete run into Redis again."),
    "rollback": ("nightly.publish", "Make the lists of an older version live again."),
    "nightly": ("nightly.run", "Do everything in one run: archive, ingest, features, models, report, publish."),
    "trending": (
        "nightly.trending",
        "Archive and ingest new events, and renew the trending list of the live version.",
    ),
    "archive": ("data.ingest", "Move the events received online from Redis into the lake."),
    "schedule": (
        "schedule",
        "Run the nightly, trending, archive and retention jobs at their times until SIGTERM or Ctrl-C.",
    ),
    "erase": (
        "privacy.persons",
        "Erase persons from Redis, the lake and the runs, with a receipt; or verify a receipt.",
    ),
    "export": (
        "privacy.persons",
        "Export all data of a person as JSON: events, sessions, lists, flags, rows in quarantine.",
    ),
    "consent": ("privacy.persons", "Show, refuse or give a user's consent to personal lists."),
    "users": ("data.users", "Export profiles, segments and forecasts of all users."),
    "retention": ("privacy.persons", "Remove data that is older than the settings in `[retention]` keep it."),
    "recommend": ("online.lookup", "Look up a user's list in Redis; an unknown user gets the popular list."),
    "similar": ("online.lookup", "Look up the items most similar to an item."),
    "variety": (
        "nightly.variety",
        "Show what repeats in the lists of the latest run, and the items that most lists have.",
    ),
    "lake": ("data.lake", "Describe the data, list and undo ingests, and show who gave the facts on an item."),
    "serve": ("online.serve", "Serve recommendations over HTTP from the live lists until SIGTERM or Ctrl-C."),
    "status": ("status", "Show the lake, the catalogue, the runs, the scheduled jobs and the live version."),
    "stop": ("status", "Stop the embedded Redis server; its data stays, and the next command starts it again."),
    "keys": ("online.keys", "Create, list, rotate and revoke API keys."),
    "audit": (
        "privacy.audit",
        "Show who did what and when, find changed or removed lines of the audit log, and rotate it.",
    ),
    "pseudonyms": ("privacy.pseudonyms", "Rotate the keys under which users are stored."),
    "anomalies": ("online.anomalies", "List, explain, release and label users who are flagged as bots."),
    "attack": (
        "experiments.attack",
        "Simulate attacks by fake accounts, and measure how well screening stops them.",
    ),
    "benchmark": ("experiments.benchmark", "Train and measure models on a prepared split."),
}
"""Command -> its module in `jobs.cli`, and its line in `recsys --help`."""


class CommandIndex(TyperGroup):
    """Lists commands without importing them; shows a user's mistake as one line and exits with status 2."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (_, line) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=line))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Import the command that was typed."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name is not None else None, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was typed."""
        try:
            return super().invoke(ctx)
        except (RecsysError, OSError) as error:
            typer.echo(f"recsys: {error}", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=CommandIndex,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Recommendations for a shop: from events to top-N lists in Redis.\n\n"
    "Start with `recsys demo`. With your own data: `recsys init SOURCE…`, `recsys check`, `recsys nightly`.",
)


@app.callback()
def read_settings(context: typer.Context, config: Config = None) -> None:
    """Read the settings for all commands, except the one that writes them, which gets the name of the file."""
    from recsys.logs import configure_logging
    from recsys.settings import load_settings, settings_file

    file = config or settings_file()
    if context.invoked_subcommand == "init":
        context.obj = file
        return
    settings = load_settings(file)
    configure_logging(settings.log_format)
    context.obj = settings


def load_command(name: str) -> Any:
    """Import the module of a command and return the command."""
    module, _ = COMMANDS[name]
    return get_group(import_module(f"jobs.cli.{module}").commands).commands[name]


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
