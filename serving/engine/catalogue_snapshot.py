"""The catalogue on disk, from which a worker answers if Redis is not available at its start."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl
import structlog

from recsys.files import atomic_write
from recsys.schema import ITEM_ID
from recsys.store.item_changes import Facts
from serving.engine.catalogue import STATIC_VERSION, Catalogue, catalogue_without_facts

CATALOGUE_GLOB: Final = "catalogue-*.parquet"
OFFERS_GLOB: Final = "offers-*.parquet"
SWITCHED_LATELY: Final = "switched_lately"
SWITCHED_OFF_FILE: Final = "switched_off.json"

log = structlog.get_logger()


class CatalogueSnapshot:
    """Files of the last adopted version, and of what was changed online since: availability, stock and validity.

    The items that are switched off have a file of their own, which outlives the version.
    """

    def __init__(self, directory: Path, static_list: Path | None, not_recommendable: str | None = None) -> None:
        """Keep the files in `directory`; `static_list` names the items to answer with if there are no files.

        `not_recommendable` is a regular expression of the names of items that are no goods.
        """
        self._not_recommendable = not_recommendable
        self._directory, self._static_list = directory, static_list
        self._saved_offers: tuple[str, int, frozenset[str]] = ("", 0, frozenset())
        self._saved_off: Mapping[str, Facts] = {}
        self.switched_lately: list[str] = []
        """Items that had been switched on or off lately when the loaded offers were written."""

    def load(self) -> Catalogue | None:
        """Return the saved catalogue, else one of the static list, else None."""
        files = sorted(self._directory.glob(CATALOGUE_GLOB))
        catalogue: Catalogue | None = None
        try:
            if files:
                version = files[-1].stem.removeprefix("catalogue-")
                catalogue = Catalogue(version, pl.read_parquet(files[-1]), self._not_recommendable)
            elif self._static_list is not None:
                catalogue = catalogue_without_facts(
                    STATIC_VERSION, self._static_list.read_text().split(), self._not_recommendable
                )
            if catalogue is not None and (offers := self._offers_file(catalogue)).exists():
                saved = pl.read_parquet(offers)
                catalogue.put_offers(saved.drop(SWITCHED_LATELY, strict=False))
                if SWITCHED_LATELY in saved:
                    self.switched_lately = saved.filter(SWITCHED_LATELY)[ITEM_ID].to_list()
        except (OSError, pl.exceptions.PolarsError) as error:
            log.warning("saved catalogue cannot be read", reason=str(error))
        return catalogue

    def save(self, catalogue: Catalogue) -> None:
        """Write a catalogue, and remove those of other versions."""
        file = self._directory / f"catalogue-{catalogue.version}.parquet"
        try:
            with atomic_write(file) as temporary:
                catalogue.table().write_parquet(temporary)
            for other in (*self._directory.glob(CATALOGUE_GLOB), *self._directory.glob(OFFERS_GLOB)):
                if other not in (file, self._offers_file(catalogue)):
                    other.unlink(missing_ok=True)
        except (OSError, pl.exceptions.PolarsError) as error:  # the catalogue may have changed meanwhile
            log.warning("catalogue cannot be saved", version=catalogue.version, reason=str(error))

    async def save_offers(self, catalogue: Catalogue, switched_lately: frozenset[str] = frozenset()) -> None:
        """Write what was changed online and what was switched lately, if it has changed since the last time."""
        state = (catalogue.version, catalogue.offers.changes, switched_lately)
        if state == self._saved_offers or not catalogue.offers.changes:
            return
        self._saved_offers = state
        with suppress(OSError):
            await asyncio.to_thread(_write_offers, self._offers_file(catalogue), catalogue, switched_lately)

    def load_switched_off(self) -> dict[str, dict[str, Any]]:
        """Return the saved items that were switched off, with the change that did it; none if there is no file."""
        file = self._directory / SWITCHED_OFF_FILE
        try:
            return msgspec.json.decode(file.read_bytes(), type=dict[str, dict[str, Any]]) if file.exists() else {}
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("saved items that are switched off cannot be read", reason=str(error))
            return {}

    async def save_switched_off(self, off: Mapping[str, Facts]) -> None:
        """Write the items that are switched off, if they have changed since the last time."""
        if off != self._saved_off:
            with suppress(OSError):
                await asyncio.to_thread(_write_json, self._directory / SWITCHED_OFF_FILE, off)
                self._saved_off = off

    def _offers_file(self, catalogue: Catalogue) -> Path:
        return self._directory / f"offers-{catalogue.version}.parquet"


def _write_offers(file: Path, catalogue: Catalogue, switched_lately: frozenset[str]) -> None:
    is_lately = pl.col(ITEM_ID).is_in(list(switched_lately)).alias(SWITCHED_LATELY)
    with atomic_write(file) as temporary:
        catalogue.changed_offers().with_columns(is_lately).write_parquet(temporary)


def _write_json(file: Path, value: Mapping[str, Facts]) -> None:
    with atomic_write(file) as temporary:
        temporary.write_bytes(msgspec.json.encode(value))
