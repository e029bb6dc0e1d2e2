"""The installed command, run as a user would."""

import os
import subprocess
import sys
from pathlib import Path

RECSYS = str(Path(sys.executable).with_name("recsys"))


def run_recsys(
    work_directory: Path, data_directory: Path, *arguments: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `recsys` in a directory, its data in another; what it printed and its exit status."""
    variables = {**os.environ, "RECSYS_DIRECTORY": str(data_directory), "COLUMNS": "120", **environment}
    return subprocess.run(
        [RECSYS, *map(str, arguments)],
        cwd=work_directory,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
