"""Find what is sold that is no goods: postage, corrections, fees, gift cards, samples."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from jobs.mapping_inference.survey import ROWS
from jobs.mapping_inference.vocabulary import BOUGHT_REGULARLY, NOT_GOODS
from recsys.schema import ITEM_ID, TITLE

MIN_ID_LENGTH = 4  # median length of the ids of a shop in which an id of one letter stands out
MAX_IDS = 12  # of one kind that are listed one by one
MIN_SHARED = 3  # ids that share a beginning, to be named by one pattern


@dataclass(frozen=True)
class NotGoods:
    """Items of one kind that are no goods."""

    kind: str
    patterns: tuple[str, ...]
    """Patterns for `lists.not_recommendable`, or for `lists.never_show` if it `is_bought_regularly`."""
    examples: tuple[str, ...]
    """Titles, or ids of items without one."""

    @property
    def is_bought_regularly(self) -> bool:
        """Return whether models may learn from its purchases."""
        return self.kind in BOUGHT_REGULARLY


def find_not_goods(items: pl.DataFrame) -> list[NotGoods]:
    """Return what is no goods among items, with the columns `item_id`, `title` and `rows`.

    An item is known by its id or by its most frequent title.
    """
    named = items.with_columns(pl.col(TITLE).fill_null("")).sort(
        pl.col(TITLE) == "", ROWS, ITEM_ID, TITLE, descending=[False, True, False, False]
    )
    each = named.unique(ITEM_ID, keep="first", maintain_order=True).sort(ITEM_ID)
    lengths = each.select(pl.col(ITEM_ID).str.len_chars().median()).item()
    found = [_of_kind(kind, each, lengths or 0) for kind in NOT_GOODS]
    return [goods for goods in found if goods.patterns]


def _of_kind(kind: str, items: pl.DataFrame, length: float) -> NotGoods:
    pattern = f"(?i)^(?:{'|'.join(NOT_GOODS[kind])})$"
    is_short = pl.col(ITEM_ID).str.len_chars() == 1
    by_id = pl.col(ITEM_ID).str.replace_all("_", " ").str.contains(pattern) | pl.col(ITEM_ID).str.contains(pattern)
    by_title = pl.col(TITLE).str.contains(pattern)
    stands_out = (pl.lit(value=length >= MIN_ID_LENGTH)) & ((pl.col(TITLE) == "") | by_title)
    found = items.filter(by_title | (by_id & (~is_short | stands_out)))
    if found.height > MAX_IDS and not _shared(found[ITEM_ID].to_list()):
        titles = found.filter(pl.col(TITLE) != "")[TITLE].unique().sort().to_list()
        return NotGoods(kind, tuple(titles[:MAX_IDS]), tuple(titles[:3]))
    examples = [title or item for item, title in found.select(ITEM_ID, TITLE).head(3).iter_rows()]
    return NotGoods(kind, tuple(_condensed(found[ITEM_ID].to_list())), tuple(examples))


def _condensed(ids: list[str]) -> Iterator[str]:
    """Yield ids, those that share a beginning as one pattern."""
    shared = _shared(ids)
    if shared is not None:
        yield f"{shared}*"
    yield from dict.fromkeys(name for name in ids if shared is None or not name.startswith(shared))


def _shared(ids: list[str]) -> str | None:
    """Return the beginning up to a separator that at least `MIN_SHARED` ids share."""
    starts = [name[: index + 1] for name in ids for index in [_separator(name)] if index > 0]
    return next((start for start in dict.fromkeys(starts) if starts.count(start) >= MIN_SHARED), None)


def _separator(name: str) -> int:
    return next((index for index, character in enumerate(name) if character in "_-"), -1)
