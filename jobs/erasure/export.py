"""Export all data of a person as one JSON document."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.erasure.persons import Installation, Persons, find_guests
from jobs.erasure.places import find_places
from jobs.lake.opt_outs import read_opt_outs
from recsys.errors import SettingsError
from recsys.files import atomic_write


def export_person(installation: Installation, user: str) -> dict[str, Any]:
    """Return what every place has of a person, by the user's id in the lake, and of guests who are the same."""
    guests = find_guests(installation, [user])
    persons = Persons(frozenset((user, *guests)))
    return {
        "user_id": user,
        "guests": sorted(guests),
        "exported_at": datetime.now(UTC).isoformat(),
        "opted_out_since": dict(read_opt_outs(installation.lake.directory).iter_rows()).get(user),
        "places": find_places(installation, persons),
    }


def write_export(file: Path, exported: dict[str, Any]) -> None:
    """Write an export to a file that only its owner may read; raises `SettingsError` where that cannot be."""
    if file.is_dir():
        raise SettingsError(f"--out = {str(file)!r}: expected a file, not a directory")
    with atomic_write(file) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            json.dump(exported, opened, indent=2, default=str, ensure_ascii=False)
            opened.write("\n")
