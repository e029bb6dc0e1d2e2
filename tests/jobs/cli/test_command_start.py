"""What a command that needs none of it does not wait for."""

import subprocess
import sys

SLOW = ("matplotlib", "lightgbm", "torch", "pandas", "adbc_driver_manager", "connectorx", "granian", "litestar")


def test_the_command_starts_without_what_only_some_of_its_work_needs():
    code = f"import sys, jobs.cli.app; print(*[name for name in {SLOW!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
