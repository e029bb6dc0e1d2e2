"""The variant of a group that a list shows: available, like what the user buys, best selling, smallest id."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.lake.item_groups import find_group_items
from jobs.lake.lake import Lake
from jobs.pipeline.variants import Purchases, Variants, attribute_values, build_variants, count_purchases
from recsys.ids import UNKNOWN, IdMap
from tests.jobs.lake.test_lake import add
from tests.tables import make_events, make_items

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
SIZES = ("S", "M", "L", None)
COLORS = ("red", "blue", None)
USERS = ("ann", "bob", "zoe")
Bought = list[tuple[str, str]]


def purchases_of(values: pl.DataFrame, bought: Bought, directory: Path) -> Purchases:
    """Count purchases in a lake that has them."""
    rows = [(user, item, "purchase", "2024-02-01T00:00:00Z") for user, item in bought]
    lake = Lake(directory / "lake", buckets=2)
    add(lake, make_events([*rows, ("ann", "late", "purchase", "2024-03-01T00:00:00Z")]), "orders")
    return count_purchases(lake, values, AS_OF)


def in_memory(values: pl.DataFrame, bought: Bought) -> Purchases:
    """Return the same as `count_purchases`, computed without Polars."""
    codes = {row["item_id"]: row for row in values.iter_rows(named=True)}
    sales = Counter(item for _, item in bought)
    shares: list[tuple[str, int, float]] = []
    for name in values.columns[1:]:
        for user in USERS:
            counts = Counter(codes[item][name] for owner, item in bought if owner == user)
            del counts[None]
            shares += [(user, code, count / counts.total()) for code, count in counts.items()]
    return Purchases(
        pl.DataFrame(list(sales.items()), schema={"item_id": pl.String, "sales": pl.UInt64}, orient="row"),
        pl.DataFrame(shares, schema={"user_id": pl.String, "value": pl.Int32, "share": pl.Float32}, orient="row"),
    )


@st.composite
def shops(draw: st.DrawFn) -> tuple[pl.DataFrame, Bought]:
    """Draw a catalogue with groups, and purchases."""
    count = draw(st.integers(1, 12))
    given_rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["g0", "g1", "g2", None]),
                st.sampled_from(SIZES),
                st.sampled_from(COLORS),
                st.sampled_from([True, False, None]),
                st.sampled_from([None, 0.0, 2.0]),
                st.sampled_from([None, AS_OF, AS_OF + timedelta(days=1)]),
            ),
            min_size=count,
            max_size=count,
        )
    )
    groups, sizes, colors, available, stock, until = zip(*given_rows, strict=True)
    attributes = [
        "{" + ",".join(f'"{name}":"{value}"' for name, value in (("si'ze", size), ("color", color)) if value) + "}"
        for size, color in zip(sizes, colors, strict=True)
    ]
    ids = [f"i{number:02}" for number in range(count)]
    items = make_items(
        item_id=ids, group_id=groups, available=available, stock=stock, valid_until=until, attributes=attributes
    )
    return items, draw(st.lists(st.tuples(st.sampled_from(USERS), st.sampled_from(ids)), max_size=20))


def expected_choice(items: pl.DataFrame, group_id: str, bought: Bought, user: str) -> str | None:
    """Return the variant to show, by the rules in plain Python; None if none may be listed."""
    facts = {row["item_id"]: row for row in items.iter_rows(named=True)}

    def may_be_listed(row: dict[str, object]) -> bool:
        is_available = row["available"] if row["available"] is not None else row["stock"] != 0
        return bool(is_available) and row["valid_until"] != AS_OF

    def value(item_id: str, name: str) -> str | None:
        text = str(facts[item_id]["attributes"])
        return text.split(f'"{name}":"')[1].split('"')[0] if f'"{name}"' in text else None

    def likeness(item_id: str) -> float:
        total = 0.0
        for name in ("si'ze", "color"):
            values = [value(item, name) for owner, item in bought if owner == user and value(item, name)]
            mine = value(item_id, name)
            if mine is not None and values:
                total += float(np.float32(values.count(mine) / len(values)))
        return float(np.float32(total))

    variants = [item for item, row in facts.items() if row["group_id"] == group_id and may_be_listed(row)]
    sales = Counter(item for _, item in bought)
    return min(variants, key=lambda item: (-likeness(item), -sales[item], item), default=None)


@given(shops())
@settings(max_examples=50)
def test_the_variant_shown_is_the_one_that_the_rules_say_and_never_one_that_may_not_be_listed(
    shop: tuple[pl.DataFrame, Bought],
) -> None:
    items, bought = shop
    group_items = find_group_items(items.lazy())
    if group_items is None:
        return
    values = attribute_values(items, ["si'ze", "color"])
    groups = dict(items.drop_nulls("group_id").group_by("group_id").agg(pl.col("item_id").min()).rows())
    models = IdMap.from_ids(pl.Series([*groups.values(), "gone"]))
    users = IdMap.from_ids(pl.Series(USERS))
    variants = build_variants(models, users, items, group_items, in_memory(values, bought), values, AS_OF)

    everything = np.tile(np.append(np.arange(len(models)), UNKNOWN).astype(np.int32), (len(USERS), 1))
    chosen = variants.choose(everything, np.arange(len(USERS), dtype=np.int32))
    shown: dict[str, str | None] = {}
    for row, user in enumerate(USERS):
        shown = dict(zip(models.values, variants.items.ids(chosen[row, :-1]), strict=True))
        assert shown == {"gone": "gone"} | {
            item: expected_choice(items, group, bought, user) for group, item in groups.items()
        }
    assert (chosen[:, -1] == UNKNOWN).all()
    assert variants.unlisted.tolist() == [shown[item] is None for item in models.values]


def test_purchases_of_a_lake_are_counted_by_item_and_by_attribute(tmp_path: Path) -> None:
    items = make_items(
        item_id=["a", "b", "c"],
        attributes=['{"size":"S"}', '{"size":"M"}', '{"color":"red"}'],
        group_id=["g", "g", None],
    )
    values = attribute_values(items, ["size"])
    bought = [("ann", "a"), ("ann", "a"), ("ann", "b"), ("ann", "c"), ("bob", "b"), ("bob", "gone")]
    counted = purchases_of(values, bought, tmp_path)
    assert dict(counted.sales.rows()) == {"a": 2, "b": 2, "c": 1, "gone": 1}
    by_user = counted.shares.sort("user_id", "share").rows()
    size = dict(values.select("item_id", "size").rows())
    assert [(user, value) for user, value, _ in by_user] == [
        ("ann", size["b"]),
        ("ann", size["a"]),
        ("bob", size["b"]),
    ]
    np.testing.assert_allclose([share for *_, share in by_user], [1 / 3, 2 / 3, 1])


def test_a_list_of_a_group_belongs_to_all_its_variants() -> None:
    items = make_items(item_id=["a", "b", "c"], group_id=["g", "g", None], available=[False, True, True])
    group_items = find_group_items(items.lazy())
    assert group_items is not None
    no_purchases = in_memory(attribute_values(items, []), [])
    models, users = IdMap.from_ids(pl.Series(["a", "c"])), IdMap.from_ids(pl.Series(["ann"]))
    variants = build_variants(models, users, items, group_items, no_purchases, attribute_values(items, []), AS_OF)
    owners, listed = variants.with_owners(np.array([0, 1], np.int32), np.array([[1, -1], [0, -1]], np.int32))
    assert lists(variants, owners, listed) == {"a": ["c"], "b": ["c"], "g": ["c"], "c": ["b"]}
    table = pl.LazyFrame({"item_id": ["a", "c"], "items": [["c"], ["b"]]})
    assert variants.give_to_all(table).collect().rows() == [("a", ["c"]), ("b", ["c"]), ("c", ["b"]), ("g", ["c"])]
    assert variants.show_default(pl.LazyFrame({"other": ["a", "c"]}), "other").collect()["other"].to_list() == [
        "b",
        "c",
    ]


def lists(variants: Variants, owners: np.ndarray, listed: np.ndarray) -> dict[str, list[str]]:
    """Return lists by the ids of their owners."""
    names = variants.items.values
    return {
        names[int(owner)]: [names[int(row)] for row in items if row != UNKNOWN]
        for owner, items in zip(owners, listed, strict=True)
    }
