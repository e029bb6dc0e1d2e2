"""The catalogue on disk, from which a worker answers if Redis is not available at its start."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

import polars as pl
import structlog

from recsys.files import atomic_write
from serving.engine.catalogue import Catalogue, catalogue_without_facts

UNAVAILABLE_FILE: Final = "unavailable.txt"
CATALOGUE_GLOB: Final = "catalogue-*.parquet"

log = structlog.get_logger()


class CatalogueSnapshot:
    """Files of the last adopted version, and of the items that are unavailable."""

    def __init__(self, directory: Path, static_list: Path | None) -> None:
        """Keep the files in `directory`; `static_list` names the items to answer with if there are no files."""
        self._directory, self._static_list = directory, static_list
        self._saved_unavailable: frozenset[str] = frozenset()

    def load(self) -> Catalogue | None:
        """Return the saved catalogue, else one of the static list, else None."""
        files = sorted(self._directory.glob(CATALOGUE_GLOB))
        unavailable = self._directory / UNAVAILABLE_FILE
        catalogue: Catalogue | None = None
        try:
            if files:
                version = files[-1].stem.removeprefix("catalogue-")
                catalogue = Catalogue(version, pl.read_parquet(files[-1]))
            elif self._static_list is not None:
                catalogue = catalogue_without_facts("static", self._static_list.read_text().split())
            if catalogue is not None and unavailable.exists():
                catalogue.set_unavailable(unavailable.read_text().split())
        except (OSError, pl.exceptions.PolarsError) as error:
            log.warning("saved catalogue cannot be read", reason=str(error))
        return catalogue

    def save(self, catalogue: Catalogue) -> None:
        """Write a catalogue, and remove those of other versions."""
        file = self._directory / f"catalogue-{catalogue.version}.parquet"
        try:
            with atomic_write(file) as temporary:
                catalogue.table().write_parquet(temporary)
            for other in self._directory.glob(CATALOGUE_GLOB):
                if other != file:
                    other.unlink(missing_ok=True)
        except (OSError, pl.exceptions.PolarsError) as error:  # the catalogue may have changed meanwhile
            log.warning("catalogue cannot be saved", version=catalogue.version, reason=str(error))

    async def save_unavailable(self, catalogue: Catalogue) -> None:
        """Write the unavailable items, if they have changed since the last time."""
        unavailable = frozenset(catalogue.unavailable)
        if unavailable == self._saved_unavailable:
            return
        self._saved_unavailable = unavailable
        with suppress(OSError):
            await asyncio.to_thread(_write_lines, self._directory / UNAVAILABLE_FILE, unavailable)


def _write_lines(file: Path, lines: frozenset[str]) -> None:
    with atomic_write(file) as temporary:
        temporary.write_text("\n".join(sorted(lines)))
