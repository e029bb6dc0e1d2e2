"""Settings read from a file that a test writes."""

from pathlib import Path

import pytest

from recsys.errors import SettingsError
from recsys.settings import Settings, load_settings


def load(tmp_path: Path, text: str, **environment: str) -> Settings:
    """Load settings from a file with this text, and from these environment variables."""
    file = tmp_path / "recsys.toml"
    file.write_text(text)
    return load_settings(file, environment)


def problem(tmp_path: Path, text: str, **environment: str) -> str:
    """Return the message of the error that loading the text raises, without the name of the file."""
    with pytest.raises(SettingsError) as error:
        load(tmp_path, text, **environment)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{tmp_path / 'recsys.toml'}: ")
