"""What was concluded on a table, with the reason of each part."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from jobs.mapping_inference.samples import SourceSample
from recsys.settings import Table


@dataclass(frozen=True)
class Conclusion:
    """A table of the settings, and why it is as it is."""

    table: Table
    sample: SourceSample
    reasons: Mapping[str, str] = field(default_factory=dict[str, str])
    """Column of the contract, or setting of the table -> reason."""
    items: pl.DataFrame | None = None
    """The different items of the source, with titles and rows."""
    has_local_times: bool = False
    """Whether a time zone is needed."""
    recipe: str = ""
    """The recipe that it is taken from."""


@dataclass(frozen=True)
class Unused:
    """A table that is not read, with the reason."""

    name: str
    reason: str
