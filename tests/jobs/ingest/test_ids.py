"""Ids are cleaned; users that stand for many people and items without a catalogue entry are found."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.ingest.ids import frequent_users, unmatched_items
from jobs.ingest.mapping import MappedRows, map_source
from jobs.lake.lake import Lake
from recsys.schema import is_id
from recsys.settings import Sources, Table
from recsys.settings.sources import NULL_IDS
from tests.ingests import EVENT, ingest_files, read_quarantined_rows, write_events
from tests.tables import make_items

COLUMNS = {name: name for name in (*EVENT, "event_id", "session_id")}


def map_ids(column: str, *ids: object, sources: Sources | None = None, **settings: object) -> MappedRows:
    rows = pl.DataFrame([EVENT] * len(ids)).with_columns(pl.Series(column, ids))
    table = Table("log", "events", "*", COLUMNS, **settings)  # pyright: ignore[reportArgumentType]
    return map_source(rows, table, sources or Sources())


@pytest.mark.parametrize("user", [*NULL_IDS, "NA", " None ", "Null", "NaN", "UNDEFINED", "Guest", "0.0", "\u00a0"])
def test_an_id_that_means_none_is_no_user_and_no_session(user: str):
    assert map_ids("user_id", user).rows["user_id"].to_list() == [None]
    assert map_ids("session_id", user).rows["session_id"].to_list() == [None]


@pytest.mark.parametrize("user", ["00", "1", "nan-7", "guest1", "anna", "-", "-10"])
def test_other_ids_are_users(user: str):
    mapped = map_ids("user_id", user)
    assert mapped.rows["user_id"].to_list() == [user]
    assert mapped.counts.null_ids == {}


def test_a_user_zero_in_a_column_of_numbers_is_none_too():
    mapped = map_ids("user_id", 0, -1, 7)
    assert mapped.rows["user_id"].to_list() == [None, None, "7"]
    assert mapped.counts.null_ids == {"user_id": 2}


def test_numbers_that_mean_no_user_are_items():
    assert map_ids("item_id", "0", "-1", "NA").rows["item_id"].to_list() == ["0", "-1", None]


def test_events_without_an_id_of_their_own_are_told_apart_by_content():
    ids = map_ids("event_id", "NA", "0").rows["event_id"]
    assert ids.str.contains(r"^\d{15,20}$").all()


def test_the_list_of_ids_that_mean_none_is_a_setting():
    assert map_ids("user_id", "NA", "0", sources=Sources(null_ids=())).rows["user_id"].to_list() == ["NA", "0"]
    nobody = Sources(null_ids=(" Nobody",))
    assert map_ids("user_id", "NA", "NOBODY", sources=nobody).rows["user_id"].to_list() == ["NA", None]


def test_events_without_a_user_are_quarantined_under_the_name_of_the_rule(lake: Lake, tmp_path: Path):
    file = write_events(tmp_path / "events.csv", *({"user_id": user} for user in ("ann", "NA", "null", "0")))
    (count,) = ingest_files(lake, file)
    assert (count.accepted, count.quarantined, count.rules) == (1, 3, {"user_id_is_given": 3})
    assert read_quarantined_rows(lake)["user_id"].to_list() == ["NA", "null", "0"]


@pytest.mark.parametrize(
    ("id_", "expected"),
    [
        ("17850.0", "17850"),
        ("007.000", "007"),
        ("1.5", "1.5"),
        ("1.0.0", "1.0.0"),
        ("A1.0", "A1.0"),
        ("-3.0", "-3.0"),
        ("1.785E4", "1.785E4"),
        (".0", ".0"),
        ("10", "10"),
    ],
)
def test_an_id_written_as_a_float_is_the_number(id_: str, expected: str):
    assert map_ids("item_id", id_).rows["item_id"].to_list() == [expected]
    assert map_ids("item_id", id_, float_ids=False).rows["item_id"].to_list() == [id_]


@pytest.mark.parametrize("around", [" ", "\t", "\u00a0", "\u200b", "\ufeff", "\u3000", "\u2060 \n"])
def test_white_space_around_an_id_is_removed_and_counted(around: str):
    mapped = map_ids("user_id", f"{around}ann{around}", "ann")
    assert mapped.rows["user_id"].to_list() == ["ann", "ann"]
    assert mapped.counts.changed_ids == {"user_id": 1}


def test_white_space_inside_an_id_is_removed_or_underscored_on_demand():
    ids = ("a b", "a \t\u00a0b", "a\u200bb", "ab")
    assert map_ids("item_id", *ids).rows["item_id"].to_list() == list(ids)
    strip, underscore = (map_ids("item_id", *ids, ids=ids_setting) for ids_setting in ("strip", "underscore"))
    assert strip.rows["item_id"].to_list() == ["ab"] * 4
    assert underscore.rows["item_id"].to_list() == ["a_b", "a_b", "ab", "ab"]
    assert strip.counts.changed_ids == underscore.counts.changed_ids == {"item_id": 3}


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Co", "Cn"]), min_size=1, max_size=20))
def test_an_id_is_left_as_it_is_or_becomes_valid(text: str):
    (cleaned,) = map_ids("item_id", text, ids="underscore", sources=Sources(null_ids=("",))).rows["item_id"]
    assert cleaned is None or not any(character.isspace() for character in cleaned)
    assert not is_id(text) or cleaned in (text, text.partition(".")[0])


def events(*users: str) -> pl.LazyFrame:
    return pl.LazyFrame({"user_id": users})


def test_a_user_with_a_large_share_of_the_events_is_found():
    users = ["shop"] * 60 + ["ann"] * 39 + ["bob"]
    found = frequent_users(events(*users), min_share=0.39, min_events=10)
    assert found.rows() == [("shop", 60, 0.6)]
    assert found.columns == ["user_id", "events", "share"]
    assert frequent_users(events(*users), min_share=0.3, min_events=39)["user_id"].to_list() == ["shop", "ann"]
    assert frequent_users(events(*users), min_share=0.3, min_events=61).is_empty()
    assert frequent_users(events()).is_empty()


def test_purchased_items_that_no_catalogue_has_are_counted_with_examples():
    bought = ["A-1", "A-1", "007", "tea", "lost", "5.0"]
    log = pl.LazyFrame({"item_id": [*bought, "seen"], "event": ["purchase"] * 6 + ["view"]})
    catalogue = make_items(item_id=["tea", "a1", "7", "5", "seen too"]).lazy()
    unmatched = unmatched_items(log, catalogue)
    assert (unmatched.share, unmatched.items) == (0.8, 4)
    assert unmatched.examples == (("A-1", "a1"), ("007", "7"), ("5.0", "5"), ("lost", None))
    assert unmatched.message() == (
        "80 % of purchased items are in no catalogue, for example A-1 (catalogue has a1?), 007 (catalogue has 7?), "
        "5.0 (catalogue has 5?), lost"
    )


def test_nothing_is_said_when_the_catalogue_has_every_purchased_item():
    log = pl.LazyFrame({"item_id": ["tea", "shirt"], "event": ["purchase", "purchase"]})
    catalogue = make_items(item_id=["tea", "shirt-M"], group_id=[None, "shirt"]).lazy()
    assert unmatched_items(log, catalogue).message() == ""
    assert unmatched_items(log.clear(), catalogue.clear()).share == 0.0


def test_ids_written_in_two_ways_are_one_item_in_events_and_catalogue(lake: Lake, tmp_path: Path):
    write_events(tmp_path / "events.csv", {"item_id": "17850.0", "event": "purchase"})
    (tmp_path / "items.csv").write_text("item_id,title\n17850,Tea\n")
    ingest_files(lake, tmp_path)
    assert unmatched_items(lake.events(), lake.items().lazy()).items == 0
