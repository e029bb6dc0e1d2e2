"""The `recsys` command, run in the test's process or in one of its own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import NoReturn
from unittest.mock import patch

import structlog
from typer.testing import CliRunner

from jobs.cli.app import app
from jobs.cli.render import console

RECSYS = str(Path(sys.executable).with_name("recsys"))
WIDTH = "120"


def run_recsys(
    work_directory: Path, data_directory: Path, *arguments: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `recsys` in this process, in `work_directory`, with its data in `data_directory`.

    Returns the exit status and what was printed, as `run_recsys_process` does, without the seconds that a new
    process takes to import everything. Not for commands that receive signals, run beside others, or become another
    program.
    """
    variables = {"RECSYS_DIRECTORY": str(data_directory), "COLUMNS": WIDTH, **environment}
    console.width = int(variables["COLUMNS"])  # rich reads it once, when the console is made
    with restored_logging(), contextlib.chdir(work_directory), patch("os.execve", _refuse_to_become):
        result = CliRunner().invoke(
            app, [*map(str, arguments)], env=variables, catch_exceptions=False, prog_name="recsys"
        )
    return subprocess.CompletedProcess(
        ["recsys", *map(str, arguments)], result.exit_code, result.stdout, result.stderr
    )


def run_recsys_process(
    work_directory: Path, data_directory: Path, *arguments: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the installed `recsys` as a user would, in a process of its own."""
    variables = {**os.environ, "RECSYS_DIRECTORY": str(data_directory), "COLUMNS": WIDTH, **environment}
    return subprocess.run(
        [RECSYS, *map(str, arguments)],
        cwd=work_directory,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
    )


@contextlib.contextmanager
def restored_logging() -> Generator[None]:
    """Restore the configuration of the log at the end: a command sends it to a stream that is closed afterwards."""
    configuration = structlog.get_config()
    try:
        yield
    finally:
        structlog.configure(**configuration)


def _refuse_to_become(*_: object) -> NoReturn:
    raise AssertionError("the command would replace the test's process: use run_recsys_process")
