"""The variants behind the items of the models: which one of each group a list shows to a user."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from features.events import COUNT, events_before, without_empty_purchases
from jobs.lake.item_groups import GROUP_ITEM_ID
from jobs.lake.lake import Lake
from jobs.lake.not_recommendable import mark_never_shown
from recsys.availability import may_be_listed
from recsys.ids import UNKNOWN, IdMap, Rows
from recsys.schema import ATTRIBUTES, EVENT, ITEM_ID, PURCHASE, USER_ID

DEFAULT: Final = "default"
PLACE: Final = "place"
SALES: Final = "sales"
SHARE: Final = "share"
VALUE: Final = "value"
IS_LISTED: Final = "is_listed"
USERS_AT_ONCE: Final = 256
"""Users whose variants are compared at once, which bounds the memory."""


@dataclass(frozen=True)
class Purchases:
    """What is bought of each variant, and which values of attributes each user buys."""

    sales: pl.DataFrame
    """Columns: item_id, `SALES`, the number of purchases."""
    shares: pl.DataFrame
    """Columns: user_id, `VALUE`, `SHARE` of the value in the user's purchases with the attribute, 0 to 1."""


@dataclass(frozen=True)
class Variants:
    """The variants of each item of the models: those that may be listed first, the best selling first.

    An item without a group is its own variant. Row numbers of variants are those of `items`, row numbers of groups
    those of the models' items.
    """

    groups: IdMap
    """Ids of the models' items."""
    items: IdMap
    """Ids of all variants."""
    rows: Rows
    """Rows of the variants, group by group, (variants,)."""
    starts: NDArray[np.int64]
    """Where the variants of each group begin in `rows`, and the end of the last, (groups + 1,)."""
    listed: NDArray[np.int64]
    """Number of each group's variants that may be listed, (groups,)."""
    values: Rows
    """Number of each variant's value of each attribute, `UNKNOWN` without one, (variants, attributes)."""
    shares: csr_matrix
    """Shares of the values in the users' purchases, (users, values), float32."""

    @property
    def unlisted(self) -> NDArray[np.bool_]:
        """Return whether a group has no variant that may be listed, (groups,)."""
        return self.listed == 0

    def default(self, groups: Rows) -> Rows:
        """Return the variant of each group for users of whom nothing is known; `UNKNOWN` stays."""
        first = np.append(np.where(self.unlisted, UNKNOWN, self.rows[self.starts[:-1]]), UNKNOWN)
        return first[groups].astype(np.int32)

    def default_ids(self) -> pl.Series:
        """Return the id of the default variant of every group, null if none may be listed, (groups,)."""
        return self.items.ids(self.default(np.arange(len(self.listed), dtype=np.int32)))

    def show_default(self, table: pl.LazyFrame, column: str) -> pl.LazyFrame:
        """Replace the groups in a column of item ids with their default variants; leave out those without one."""
        shown = pl.LazyFrame({column: self.groups.values, DEFAULT: self.default_ids()}).drop_nulls()
        return table.join(shown, on=column).with_columns(pl.col(DEFAULT).alias(column)).drop(DEFAULT)

    def give_to_all(self, lists: pl.LazyFrame) -> pl.LazyFrame:
        """Give the list of each group, in the column `item_id`, to all its variants, in order of id."""
        owners = self.places().lazy().select(ITEM_ID, GROUP_ITEM_ID).sort(ITEM_ID)
        of_groups = lists.rename({ITEM_ID: GROUP_ITEM_ID})
        return owners.join(of_groups, on=GROUP_ITEM_ID, maintain_order="left").drop(GROUP_ITEM_ID)

    def places(self) -> pl.DataFrame:
        """Return the place of each variant in its group, from 0. Columns: item_id, `GROUP_ITEM_ID`, `PLACE`."""
        counts = np.diff(self.starts)
        return pl.DataFrame(
            {
                ITEM_ID: self.items.ids(self.rows),
                GROUP_ITEM_ID: self.groups.ids(np.repeat(np.arange(len(counts)), counts)),
                PLACE: np.arange(len(self.rows)) - np.repeat(self.starts[:-1], counts),
            }
        )

    def choose(self, groups: Rows, user_rows: Rows) -> Rows:
        """Return the variant of each group of some users' lists that is most like their purchases, (users, n).

        The variant is one that may be listed. Of equals, the best selling is chosen, then that of the smallest id.
        """
        chosen = self.default(groups)
        if self.shares.nnz == 0:
            return chosen
        for start in range(0, len(user_rows), USERS_AT_ONCE):
            block = slice(start, start + USERS_AT_ONCE)
            self._choose(groups[block], user_rows[block], chosen[block])
        return chosen

    def with_owners(self, groups: Rows, listed: Rows) -> tuple[Rows, Rows]:
        """Return all variants of groups, and for each the default variants of its group's list, (variants, n)."""
        counts = np.diff(self.starts)[groups]
        return self.rows[_ranges(self.starts[groups], counts)], np.repeat(self.default(listed), counts, axis=0)

    def _choose(self, groups: Rows, user_rows: Rows, chosen: Rows) -> None:
        """Write into `chosen` the best variants of groups with several, for users with purchases."""
        has_shares = np.diff(self.shares.indptr)[user_rows] > 0
        several = np.append(self.listed > 1, False)[groups] & has_shares[:, None]
        users, places = np.nonzero(several)
        if not len(users):
            return
        pairs = groups[users, places]
        counts = self.listed[pairs]
        variants = self.rows[_ranges(self.starts[pairs], counts)]
        owners = np.repeat(user_rows[users], counts)
        likeness = np.zeros(len(variants), np.float32)
        for values in self.values.T:
            value = values[variants]
            is_known = value != UNKNOWN
            if is_known.any():  # otherwise SciPy returns a sparse matrix
                likeness[is_known] += np.asarray(self.shares[owners[is_known], value[is_known]]).ravel()
        ends = np.cumsum(counts)
        best = np.repeat(np.maximum.reduceat(likeness, ends - counts), counts)
        numbers = np.where(likeness == best, np.arange(len(variants)), len(variants))
        chosen[users, places] = variants[np.minimum.reduceat(numbers, ends - counts)]


def read_variants(
    lake: Lake,
    item_ids: IdMap,
    users: IdMap,
    as_of: datetime,
    attributes: Sequence[str] = (),
    since: datetime | None = None,
    never_show: Sequence[str] = (),
) -> Variants | None:
    """Read the variants of a lake's groups, and what was bought before `as_of`, from the day of `since` on.

    `item_ids` are the items of the models, `never_show` patterns of those that may not be listed. Returns None if
    the lake has no groups.
    """
    if lake.group_items is None:
        return None
    items = mark_never_shown(lake.by_item().items().collect(), item_ids.values, never_show)
    values = attribute_values(items, attributes)
    purchases = count_purchases(lake.by_item(), values, as_of, since)
    return build_variants(item_ids, users, items, lake.group_items, purchases, values, as_of)


def attribute_values(items: pl.DataFrame, attributes: Sequence[str]) -> pl.DataFrame:
    """Return the attributes of each item as numbers: a column for each attribute, null for an item without it.

    Columns: item_id, and the names of the attributes. No number stands for values of two attributes.
    """
    texts = items.select(
        ITEM_ID, *(pl.col(ATTRIBUTES).str.json_path_match(_json_path(name)).alias(name) for name in attributes)
    )
    numbers, total = [texts[ITEM_ID]], 0
    for name in attributes:
        distinct = texts[name].drop_nulls().unique().sort()
        codes = np.arange(total, total + len(distinct), dtype=np.int32)
        numbers.append(texts[name].replace_strict(distinct, codes, default=None, return_dtype=pl.Int32))
        total += len(distinct)
    return pl.DataFrame(numbers)


def count_purchases(lake: Lake, values: pl.DataFrame, as_of: datetime, since: datetime | None = None) -> Purchases:
    """Count the purchases of each item, and each user's by `attribute_values`, bucket by bucket."""
    sales: list[pl.DataFrame] = []
    shares: list[pl.DataFrame] = []
    for bucket in range(lake.buckets):
        events = events_before(lake.events(bucket, since), as_of)
        events = without_empty_purchases(events).filter(pl.col(EVENT) == PURCHASE)
        bought = events.group_by(USER_ID, ITEM_ID).agg(pl.len().alias(COUNT)).collect(engine="streaming")
        sales.append(bought.group_by(ITEM_ID).agg(pl.col(COUNT).sum().alias(SALES)))
        shares += [_shares(bought, values.select(ITEM_ID, name)) for name in values.columns[1:]]
    no_shares = pl.DataFrame(schema={USER_ID: pl.String, VALUE: pl.Int32, SHARE: pl.Float32})
    return Purchases(pl.concat(sales).group_by(ITEM_ID).agg(pl.col(SALES).sum()), pl.concat([no_shares, *shares]))


def build_variants(
    item_ids: IdMap,
    users: IdMap,
    items: pl.DataFrame,
    group_items: pl.DataFrame,
    purchases: Purchases,
    values: pl.DataFrame,
    as_of: datetime,
) -> Variants:
    """Build the variants of `item_ids` from the catalogue; an item that is not in it is its own variant.

    The own id of a group is a variant that is never listed, so that lists can be looked up by it.
    `group_items` is as `item_groups.find_group_items` returns it, `values` as `attribute_values` does.
    """
    catalogue = items.select(ITEM_ID, may_be_listed(as_of).alias(IS_LISTED))
    known = catalogue.join(group_items, on=ITEM_ID, how="full", coalesce=True).with_columns(
        pl.coalesce(GROUP_ITEM_ID, ITEM_ID),
        pl.col(IS_LISTED).fill_null(value=False),  # the own ids of groups
    )
    ids = item_ids.values.alias(GROUP_ITEM_ID).to_frame()
    table = (
        ids.with_row_index("group")
        .join(known, on=GROUP_ITEM_ID, how="left")
        .with_columns(pl.coalesce(ITEM_ID, GROUP_ITEM_ID), pl.col(IS_LISTED).fill_null(value=True))
        .join(purchases.sales, on=ITEM_ID, how="left")
        .join(values, on=ITEM_ID, how="left")
        .with_columns(pl.col(SALES).fill_null(0))
        .sort("group", IS_LISTED, SALES, ITEM_ID, descending=[False, True, True, False])
    )
    variants = IdMap.from_ids(table[ITEM_ID])
    rows = variants.rows(table[ITEM_ID])
    counts = np.bincount(table["group"].to_numpy(), minlength=len(item_ids))
    listed = np.bincount(table.filter(IS_LISTED)["group"].to_numpy(), minlength=len(item_ids))
    attributes = values.columns[1:]
    codes = np.full((len(variants), len(attributes)), UNKNOWN, np.int32)
    for column, name in enumerate(attributes):
        codes[rows, column] = table[name].fill_null(UNKNOWN).to_numpy()
    size = 1 + sum(values[name].n_unique() for name in attributes)
    shares = purchases.shares.filter(pl.col(USER_ID).is_in(users.values.implode()))
    columns = (shares[SHARE].to_numpy(), (users.rows(shares[USER_ID]), shares[VALUE].to_numpy()))
    matrix = csr_matrix(columns, shape=(len(users), size), dtype=np.float32)
    return Variants(item_ids, variants, rows, np.append(0, np.cumsum(counts)), listed, codes, matrix)


def _shares(bought: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    """Return the share of each value of one attribute in the purchases of each user, as `Purchases.shares`."""
    named = bought.join(values.rename({values.columns[1]: VALUE}).drop_nulls(), on=ITEM_ID)
    counts = named.group_by(USER_ID, VALUE).agg(pl.col(COUNT).sum())
    share = pl.col(COUNT) / pl.col(COUNT).sum().over(USER_ID)
    return counts.select(USER_ID, VALUE, share.cast(pl.Float32).alias(SHARE))


def _ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers from each start on, as many as its count, one range after the other."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)


def _json_path(name: str) -> str:
    """Return the JSONPath of a field of an object."""
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"$['{escaped}']"
