"""The index of commands: its entries, and the modules that each command imports."""

import os
import resource
import subprocess
import sys
from typing import cast

from typer.core import TyperGroup
from typer.main import get_command

from jobs.cli.app import COMMANDS, app, load_command
from tests.commands import RECSYS

MAX_HELP_SECONDS = 0.5
EVER_HEAVY = ("matplotlib", "torch", "optuna", "pandas", "connectorx", "granian", "litestar", "lightgbm")
MODELS = ("implicit", "numba", "scipy", "sklearn", "pyod")


def imported(statement: str, *modules: str) -> list[str]:
    """Which of the modules are imported in a new process by a statement."""
    code = f"import sys\n{statement}\nprint(*[name for name in {modules!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_every_command_is_loaded_under_its_name_with_the_line_that_help_shows() -> None:
    assert list(cast(TyperGroup, get_command(app)).commands) == list(COMMANDS)
    for name, (_, line) in COMMANDS.items():
        command = load_command(name)
        assert command.name == name
        assert str(command.help).replace("\n", " ").startswith(line.removesuffix("."))


def test_help_imports_no_library_of_the_commands() -> None:
    libraries = ("polars", "numpy", "pydantic", "redis", "pyarrow", *MODELS, *EVER_HEAVY)
    assert imported("import jobs.cli.app", *libraries) == []


def test_help_takes_little_cpu_time() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([RECSYS, "--help"], stdout=subprocess.DEVNULL, env=os.environ, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < MAX_HELP_SECONDS


def test_commands_that_fit_no_model_import_no_model() -> None:
    names = ("keys", "recommend", "archive", "ingest", "schedule", "rollback", "serve")
    assert (
        imported(f"from jobs.cli.app import load_command\nfor name in {names}: load_command(name)", *MODELS) == []
    )


def test_commands_import_what_only_some_of_their_work_needs_when_it_is_needed() -> None:
    load_all = "from jobs.cli.app import COMMANDS, load_command\nfor name in COMMANDS: load_command(name)"
    assert imported(load_all, *EVER_HEAVY) == []


def test_a_mistyped_command_is_answered_with_one_like_it() -> None:
    done = subprocess.run([RECSYS, "nightli"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Did you mean 'nightly'" in done.stderr
