"""The demo's lists, published and served, for the examples of the documentation."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DemoServer:
    """Where the demo's files are, and the ports of its Valkey and its HTTP server."""

    directory: Path
    redis_port: int
    http_port: int

    def localize(self, code: str) -> str:
        """Replace the ports that the documentation uses."""
        for port, actual in ((6399, self.redis_port), (8000, self.http_port)):
            code = code.replace(f"-p {port}", f"-p {actual}").replace(f"port={port}", f"port={actual}")
            code = code.replace(f"127.0.0.1:{port}", f"127.0.0.1:{actual}")
        return code

    def run(
        self, command: Sequence[str], work_directory: Path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a reader would, with `recsys` on the PATH."""
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        variables = {**os.environ, "PATH": path, "RECSYS_DIRECTORY": str(self.directory), **environment}
        return subprocess.run(
            command, cwd=work_directory, env=variables, capture_output=True, text=True, timeout=120
        )
