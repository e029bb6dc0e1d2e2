"""Directories of the server, below the settings' `directory`."""

from pathlib import Path


def server_directory(data_directory: Path) -> Path:
    """Return the directory of the server's files."""
    return data_directory / "serving"


def metrics_directory(data_directory: Path) -> Path:
    """Return the directory in which the workers of a server share their counts."""
    return server_directory(data_directory) / "metrics"
