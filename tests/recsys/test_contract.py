import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys import schema
from recsys.contract import Events, Flags, Impressions, Items, Labels, Users, events_schema
from recsys.schema import DEFAULT_WEIGHTS, ID_PATTERN, MIN_TIMESTAMP, find_broken_event_rule

LATEST = datetime(2024, 6, 1, tzinfo=UTC)
EVENT: dict[str, Any] = {
    "event_id": "e1",
    "user_id": "ann",
    "item_id": "tea",
    "event": "view",
    "timestamp": datetime(2024, 5, 1, tzinfo=UTC),
    "value": 1.0,
    "price": 2.0,
    "quantity": 3.0,
    "session_id": "s",
    "ip": "10.0.0.1",
    "user_agent": "browser",
}
ITEM: dict[str, Any] = dict.fromkeys(Items.column_names()) | {"item_id": "tea"}


def broken_rules(schema: type[dy.Schema], row: dict[str, Any]) -> set[str]:
    """The rules that the row breaks."""
    _, failure = schema.filter(pl.DataFrame([row], schema=pl.Schema(schema)))
    return {rule for rule, count in failure.counts().items() if count}


KNOWN = events_schema(DEFAULT_WEIGHTS, LATEST)


def test_a_whole_event_keeps_every_rule():
    assert broken_rules(KNOWN, EVENT) == set()


@pytest.mark.parametrize("name", ["value", "price", "quantity", "session_id", "ip", "user_agent"])
def test_what_an_event_need_not_have_may_be_null(name: str):
    assert broken_rules(KNOWN, EVENT | {name: None}) == set()


def test_a_refund_is_of_more_than_no_unit():
    refund = EVENT | {"event": "refund"}
    assert broken_rules(KNOWN, refund | {"quantity": 0.0}) == {"refund_has_units"}
    assert (
        broken_rules(KNOWN, refund | {"quantity": None}) == broken_rules(KNOWN, refund | {"quantity": 0.5}) == set()
    )


@pytest.mark.parametrize("name", ["event_id", "user_id", "item_id", "event", "timestamp"])
def test_what_an_event_must_have_may_not_be_null(name: str):
    assert broken_rules(KNOWN, EVENT | {name: None}) == {f"{name}|nullability"}


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("value", float("nan"), "value_is_finite"),
        ("value", float("-inf"), "value_is_finite"),
        ("price", float("nan"), "price_is_an_amount"),
        ("price", -0.01, "price_is_an_amount"),
        ("quantity", float("inf"), "quantity_is_an_amount"),
        ("quantity", -1.0, "quantity_is_an_amount"),
        ("event", "wave", "event_is_known"),
        ("timestamp", MIN_TIMESTAMP - timedelta(microseconds=1), "timestamp_is_in_range"),
        ("timestamp", LATEST + timedelta(microseconds=1), "timestamp_is_in_range"),
        ("event_id", "a b", "event_id_is_an_id"),
        ("user_id", "", "user_id_is_an_id"),
        ("item_id", "a\n", "item_id_is_an_id"),
    ],
)
def test_a_wrong_value_breaks_one_rule(name: str, value: object, rule: str):
    assert broken_rules(KNOWN, EVENT | {name: value}) == {rule}


@pytest.mark.parametrize(
    ("name", "value"),
    [("value", -5.0), ("price", 0.0), ("quantity", 0.0), ("timestamp", MIN_TIMESTAMP), ("timestamp", LATEST)],
)
def test_a_value_on_the_bound_keeps_the_rules(name: str, value: object):
    assert broken_rules(KNOWN, EVENT | {name: value}) == set()


@pytest.mark.parametrize("event", sorted(DEFAULT_WEIGHTS))
def test_every_event_with_a_weight_is_known(event: str):
    assert broken_rules(KNOWN, EVENT | {"event": event}) == set()


def test_names_that_are_added_are_known_and_others_are_not():
    schema = events_schema(["wishlist"], LATEST)
    assert broken_rules(schema, EVENT | {"event": "wishlist"}) == set()
    assert broken_rules(schema, EVENT) == {"event_is_known"}


def test_only_refunds_speak_against_an_item():
    assert [event for event, weight in DEFAULT_WEIGHTS.items() if weight < 0] == ["refund"]


def is_id(text: str) -> bool:
    return "user_id_is_an_id" not in broken_rules(Users, {"user_id": text, "attributes": None})


@given(st.text(st.characters(exclude_categories=["Cs", "Cn"]), min_size=1, max_size=140))
def test_an_id_has_1_to_128_characters_none_of_them_space_or_control(text: str):
    blank = any(character.isspace() or unicodedata.category(character)[0] in "CZ" for character in text)
    assert is_id(text) == (len(text) <= 128 and not blank)


@pytest.mark.parametrize("text", ["x" * 128, "😀" * 128, "007", "a/b?c=d&e", "{user}", "*", "'\""])
def test_ids_may_have_any_visible_character(text: str):
    assert is_id(text)


@pytest.mark.parametrize(
    "text", ["", "x" * 129, "😀" * 129, " a", "a ", "a\n", "\na", "a\u2028b", "a\x1bb", "a\ufeff"]
)
def test_ids_have_no_blank_and_no_129th_character(text: str):
    assert not is_id(text)


def test_the_pattern_of_ids_is_for_whole_texts():
    assert ID_PATTERN.startswith("^")
    assert ID_PATTERN.endswith("$")


def test_an_item_needs_no_more_than_an_id():
    assert broken_rules(Items, ITEM) == set()
    assert broken_rules(Items, ITEM | {"category": ["Food", "Tea"], "price": 0.0, "attributes": "{}"}) == set()


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("item_id", None, "item_id|nullability"),
        ("item_id", "a b", "item_id_is_an_id"),
        ("price", float("nan"), "price_is_an_amount"),
        ("price", -1.0, "price_is_an_amount"),
        ("stock", -1.0, "stock_is_an_amount"),
        ("stock", float("inf"), "stock_is_an_amount"),
    ],
)
def test_a_wrong_item_breaks_one_rule(name: str, value: object, rule: str):
    assert broken_rules(Items, ITEM | {name: value}) == {rule}


def test_an_item_ends_after_it_begins():
    later = LATEST + timedelta(microseconds=1)
    assert broken_rules(Items, ITEM | {"valid_from": LATEST, "valid_until": later}) == set()
    assert broken_rules(Items, ITEM | {"valid_until": MIN_TIMESTAMP}) == set()
    for begins in (LATEST, later):
        broken = broken_rules(Items, ITEM | {"valid_from": begins, "valid_until": LATEST})
        assert broken == {"valid_until_is_after_valid_from"}


def test_columns_are_spelled_as_in_the_contract():
    assert Events.column_names() == list(EVENT)
    assert Users.column_names() == ["user_id", "attributes"]


IDS = st.one_of(
    st.sampled_from(
        ["", "a", "x" * 128, "x" * 129, "é" * 128, "é" * 129, "a b", "\n", "a\x7f", "\u200b", "\u00a0"]
    ),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=4),
)
AMOUNTS = st.one_of(st.none(), st.sampled_from([0.0, -0.0, -5e-324, 1e308]), st.floats())
EDGES = [edge + timedelta(microseconds=step) for edge in (MIN_TIMESTAMP, LATEST) for step in (-1, 0, 1)]
TIMES = st.one_of(st.sampled_from(EDGES), st.datetimes(timezones=st.just(UTC)))
NAMES = st.one_of(st.sampled_from([*DEFAULT_WEIGHTS, "", "View", "view "]), st.text(max_size=3))


@settings(max_examples=150, deadline=None)
@given(IDS, IDS, IDS, NAMES, TIMES, st.tuples(AMOUNTS, AMOUNTS, AMOUNTS))
def test_an_event_by_itself_breaks_a_rule_as_one_in_a_table_does(
    event_id: str,
    user_id: str,
    item_id: str,
    event: str,
    timestamp: datetime,
    amounts: tuple[float | None, float | None, float | None],
) -> None:
    value, price, quantity = amounts
    row = {"event_id": event_id, "user_id": user_id, "item_id": item_id, "event": event, "timestamp": timestamp}
    amounts_of_row = {"value": value, "price": price, "quantity": quantity}
    table = pl.DataFrame([row | amounts_of_row], schema_overrides=pl.Schema(Events)).select(
        pl.col(name) if name in row | amounts_of_row else pl.lit(None, dtype).alias(name)
        for name, dtype in pl.Schema(Events).items()
    )
    _, failure = events_schema(DEFAULT_WEIGHTS, LATEST).filter(table, cast=True)
    broken = find_broken_event_rule(event_id, user_id, item_id, event, timestamp, amounts, DEFAULT_WEIGHTS, LATEST)
    rules = failure.counts()
    assert (broken is None) == (not rules)
    assert broken is None or broken in rules


@pytest.mark.parametrize(
    ("table", "dtypes"),
    [
        (Events, schema.EVENT_DTYPES),
        (Items, schema.ITEM_DTYPES),
        (Users, schema.USER_DTYPES),
        (Impressions, schema.IMPRESSION_DTYPES),
        (Flags, schema.FLAG_DTYPES),
        (Labels, schema.LABEL_DTYPES),
    ],
)
def test_tables_have_the_columns_of_the_schema(table: type[dy.Schema], dtypes: dict[str, pl.DataType]) -> None:
    assert pl.Schema(table) == pl.Schema(dtypes)
    assert list(pl.Schema(table)) == list(dtypes)
