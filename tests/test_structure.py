"""Sizes of files and folders, and words that the project does not use."""

import re
import subprocess
from collections import Counter
from pathlib import Path

MAX_LINES = 350
MAX_MODULES = 25
AMBIGUOUS_WORDS = re.compile(r"held back|set aside|what came of|\bwhat is known of", re.IGNORECASE)
"""Phrases with two meanings or none: say flagged, suppressed, held out, deferred, quarantined."""


def tracked_files(repository: Path, *patterns: str) -> list[Path]:
    """List the files under version control that match."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for line in listed.stdout.splitlines() if (path := repository / line).is_file()]


def test_no_module_is_too_long(repository: Path) -> None:
    lines = {path: path.read_text().count("\n") for path in tracked_files(repository, "*.py")}
    assert not {
        path.relative_to(repository).as_posix(): count for path, count in lines.items() if count > MAX_LINES
    }


def test_no_folder_has_too_many_modules(repository: Path) -> None:
    modules = Counter(path.parent for path in tracked_files(repository, "*.py") if path.name != "__init__.py")
    assert not {folder.relative_to(repository).as_posix(): n for folder, n in modules.items() if n > MAX_MODULES}


def test_no_ambiguous_words(repository: Path) -> None:
    texts = tracked_files(repository, "*.py", "*.md", "*.html", "*.toml", "*.yaml")
    found = [
        f"{path.relative_to(repository)}: {match[0]}"
        for path in texts
        if path != Path(__file__)
        for match in AMBIGUOUS_WORDS.finditer(" ".join(path.read_text().split()))
    ]
    assert not found
