"""Clean ids, and find ids that stand for many users or for no item."""

from dataclasses import dataclass

import polars as pl

from jobs.ingest.column_readings import as_text
from recsys.schema import EVENT, GROUP_ID, ITEM_ID, PURCHASE, USER_ID
from recsys.settings import Sources, Table

INVISIBLE = (
    "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"  # characters of no width, which are no white space in Unicode
)
AROUND = "".join(character for character in map(chr, range(0x3001)) if character.isspace()) + INVISIBLE
FLOAT = r"^(\d+)\.0+$"
MAX_EXAMPLES = 5


def clean_ids(name: str, values: pl.Series, table: Table, sources: Sources) -> tuple[pl.Series, int, int]:
    """Return a column of ids as text, the number of ids that were changed, and the number that mean no id.

    White space and characters without width around an id are removed, those inside as `table.ids` says; with
    `table.float_ids`, 17850.0 becomes 17850. Ids in `sources.null_ids` become null.
    """
    texts = values.to_frame("id").select(as_text(pl.col("id"), values.dtype)).to_series()
    if values.dtype.is_numeric():
        cleaned, changed = texts, 0
    else:
        cleaned = _cleaned(texts, table)
        changed = int((cleaned != texts).sum())
    null_ids = sorted(sources.null_texts(name))
    if not null_ids:
        return cleaned, changed, 0
    is_null = cleaned.str.to_lowercase().is_in(null_ids)
    nulls = int(is_null.sum())
    return (cleaned.set(is_null, None) if nulls else cleaned), changed, nulls


def _cleaned(texts: pl.Series, table: Table) -> pl.Series:
    cleaned = texts.str.strip_chars(AROUND)
    if table.ids != "reject":
        visible = cleaned.str.replace_all(rf"[{INVISIBLE}]", "")
        cleaned = visible.str.replace_all(r"\s+", "_" if table.ids == "underscore" else "")
    if table.float_ids and cleaned.str.contains(FLOAT).any():
        cleaned = cleaned.str.replace(FLOAT, "${1}")
    return cleaned


def frequent_users(events: pl.LazyFrame, min_share: float = 0.01, min_events: int = 1_000) -> pl.DataFrame:
    """Return the users with more than `min_share` of all events, and at least `min_events`.

    They may be one id for many people. Columns: `user_id`, `events`, `share` (0 to 1), by the number of events.
    """
    counts = events.group_by(USER_ID).agg(pl.len().alias("events"))
    shares = counts.with_columns((pl.col("events") / pl.col("events").sum()).alias("share"))
    is_frequent = (pl.col("share") > min_share) & (pl.col("events") >= min_events) & pl.col(USER_ID).is_not_null()
    return shares.filter(is_frequent).sort("events", USER_ID, descending=[True, False]).collect()


@dataclass(frozen=True)
class UnmatchedItems:
    """Items of purchases that are in no catalogue."""

    share: float
    """Part of the purchased items, 0 to 1."""
    items: int
    """Number of them."""
    examples: tuple[tuple[str, str | None], ...]
    """Those purchased most: the item, and an item of the catalogue that is written alike."""

    def message(self) -> str:
        """Return one line that states the share and examples; empty when all items are in the catalogue."""
        if not self.items:
            return ""
        examples = ", ".join(
            f"{item} (catalogue has {alike}?)" if alike is not None else item for item, alike in self.examples
        )
        share = "less than 1" if self.share < 0.01 else f"{self.share:.0%}".removesuffix("%")
        return f"{share} % of purchased items are in no catalogue, for example {examples}"


def unmatched_items(
    events: pl.LazyFrame, items: pl.LazyFrame, event: str = PURCHASE, max_examples: int = MAX_EXAMPLES
) -> UnmatchedItems:
    """Return the share of the items of purchases that `items` lacks, with examples; a group is there by its id too.

    Two ids are written alike when they differ only in case, in leading zeros, in a trailing `.0`, or in white
    space, hyphens, dots and underscores.
    """
    bought = events.filter(pl.col(EVENT) == event).group_by(ITEM_ID).agg(pl.len().alias("events"))
    groups = items.select(pl.col(GROUP_ID).alias(ITEM_ID)).drop_nulls()
    catalogue = pl.concat([items.select(ITEM_ID), groups]).unique()
    total = int(bought.select(pl.len()).collect().item())
    missing = bought.join(catalogue, on=ITEM_ID, how="anti").collect()
    if not missing.height:
        return UnmatchedItems(0.0, 0, ())
    shown = missing.sort("events", ITEM_ID, descending=[True, False]).head(max_examples).with_columns(_key())
    alike = (
        catalogue.with_columns(_key())
        .join(shown.lazy().select("key"), on="key", how="semi")
        .group_by("key")
        .agg(pl.col(ITEM_ID).min().alias("alike"))
    )
    examples = shown.lazy().join(alike, on="key", how="left", maintain_order="left").select(ITEM_ID, "alike")
    return UnmatchedItems(missing.height / total, missing.height, tuple(examples.collect().iter_rows()))


def event_findings(events: pl.LazyFrame, items: pl.LazyFrame) -> tuple[str, ...]:
    """Return a line for each user with more than 1 % of the events, and one on purchased items in no catalogue.

    Lines may name users, and must not be logged.
    """
    users = [
        f"user {row[USER_ID]} has {row['share']:.0%} of the events ({row['events']:,}): one id for many people? "
        "(sources.null_ids)"
        for row in frequent_users(events).iter_rows(named=True)
    ]
    has_catalogue = items.limit(1).collect().height > 0
    unmatched = unmatched_items(events, items).message() if has_catalogue else ""
    return (*users, *([unmatched] if unmatched else []))


def _key() -> pl.Expr:
    """Return an id without what often differs between two systems."""
    text = pl.col(ITEM_ID).str.to_lowercase().str.replace(FLOAT, "${1}").str.replace_all(r"[\s._-]", "")
    return text.str.replace(r"^0+(.)", "${1}").alias("key")
