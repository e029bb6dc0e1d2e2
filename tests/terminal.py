"""The `recsys` command at a pseudo-terminal, with a user who answers its questions."""

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

SECONDS = 120


def run_at_terminal(
    work_directory: Path, *arguments: str, answers: Mapping[str, str], **environment: str
) -> tuple[int, str]:
    """Run `recsys` at a terminal; return its exit status and all that it showed.

    A line that ends in a prompt and contains a text of `answers` is answered; an empty answer is Enter. A question
    that no text fits is an error.
    """
    ours, theirs = pty.openpty()
    variables = {**os.environ, "COLUMNS": "120", "TERM": "dumb", **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli.app", *arguments],
        cwd=work_directory,
        env=variables,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, answered = "", 0
    with suppress(OSError):  # the end of the process is one
        while part := os.read(ours, 65_536):
            shown += part.decode()
            last = shown[answered:].rpartition("\n")[2] or shown[answered:]
            if last.rstrip().endswith("]:"):
                answer = next((text for question, text in answers.items() if question in last), None)
                if answer is None:
                    process.kill()
                    raise AssertionError(f"nobody expects this question: {last}")
                os.write(ours, f"{answer}\n".encode())
                answered = len(shown)
    os.close(ours)
    return process.wait(SECONDS), shown.replace("\r\n", "\n")
