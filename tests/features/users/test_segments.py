"""Known answers of scores and stages."""

from typing import Any

import polars as pl

from features.users.segments import user_segments

SCHEMA = {
    "user_id": pl.String,
    "orders": pl.UInt32,
    "recency_days": pl.Float64,
    "spent": pl.Float64,
    "order_gap_days_mean": pl.Float64,
    "last_gap_days": pl.Float64,
}
Fact = tuple[str, int, float | None, float | None, float | None, float | None]


def segments(facts: list[Fact]) -> dict[str, dict[str, Any]]:
    table = user_segments(pl.DataFrame(facts, schema=SCHEMA, orient="row").lazy()).collect()
    return {row["user_id"]: row for row in table.iter_rows(named=True)}


def scores(facts: list[Fact], name: str) -> list[int | None]:
    return [row[f"{name}_score"] for row in segments(facts).values()]


def test_a_score_counts_the_fifths_that_lie_below():
    facts: list[Fact] = [(f"u{n}", n + 1, 10.0 * n, float(n), None, None) for n in range(10)]
    assert scores(facts, "frequency") == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert scores(facts, "monetary") == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert scores(facts, "recency") == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1]


def test_equal_values_have_equal_scores_and_those_without_orders_none():
    # Six of ten customers have one order, and nobody has fewer: score 1. That of the others is 1 + 6 * 5 // 10.
    facts: list[Fact] = [(f"u{n}", 1 if n < 6 else 2, 1.0, None, None, None) for n in range(10)]
    facts.append(("viewer", 0, None, None, None, None))
    assert scores(facts, "frequency") == [1] * 6 + [4] * 4 + [None]
    assert scores(facts, "monetary") == [None] * 11


def test_stages_follow_from_the_gaps_of_the_shop():
    # All regulars order every ten days: the usual gap is ten days. Their last waits were 0.5, 0.6, … 1.5 of it.
    regulars: list[Fact] = [(f"r{n:02d}", 11, 0.0, 1.0, 10.0, 5.0 + n) for n in range(11)]
    others: list[Fact] = [
        ("active", 2, 14.0, 1.0, 10.0, 10.0),
        ("at_risk", 2, 14.5, 1.0, 10.0, 10.0),
        ("lapsed", 2, 15.5, 1.0, 10.0, 10.0),
        ("new", 1, 14.0, 1.0, None, None),
        ("once", 1, 300.0, 1.0, None, None),
        ("viewer", 0, None, None, None, None),
    ]
    found = segments([*regulars, *others])
    assert {row["usual_gap_days"] for name, row in found.items() if name != "viewer"} == {10.0}
    assert found["at_risk"]["wait"] == 1.45
    # Of the 14 last waits, 13 were at most 1.4 of the gap, and all at most 1.5.
    stages = {name: row["lifecycle_stage"] for name, row in found.items() if not name.startswith("r")}
    assert stages == {
        "active": "active",
        "at_risk": "at_risk",
        "lapsed": "lapsed",
        "new": "new",
        "once": "lapsed",
        "viewer": "prospect",
    }
    assert {found[user]["lifecycle_stage"] for user, *_ in regulars} == {"active"}  # nobody orders less often


def test_frequent_customers_are_loyal_while_they_are_not_late():
    often: list[Fact] = [("often", 40, 1.0, 1.0, 5.0, 5.0), ("late", 40, 90.0, 1.0, 5.0, 5.0)]
    seldom: list[Fact] = [(f"u{n}", 2, 1.0, 1.0, 5.0, 5.0) for n in range(4)]
    found = segments([*often, *seldom])
    assert (found["often"]["lifecycle_stage"], found["late"]["lifecycle_stage"]) == ("loyal", "lapsed")


def test_a_gap_is_shrunk_to_that_of_the_shop():
    # The shop's mean gap is 20 days, counted as two gaps beside the own one of 40 days.
    facts: list[Fact] = [
        ("ann", 2, 0.0, 1.0, 40.0, 40.0),
        ("bob", 3, 0.0, 1.0, 0.0, 0.0),
        ("new", 1, 5.0, 1.0, None, None),
    ]
    found = segments(facts)
    assert found["ann"]["usual_gap_days"] == (40 + 2 * 20) / 3
    assert (found["new"]["usual_gap_days"], found["new"]["wait"]) == (20, 0.25)


def test_where_nobody_has_come_back_customers_are_new():
    found = segments([("ann", 1, 3.0, 1.0, None, None), ("bob", 1, 400.0, 1.0, None, None)])
    assert [(row["wait"], row["lifecycle_stage"]) for row in found.values()] == [(None, "new")] * 2
