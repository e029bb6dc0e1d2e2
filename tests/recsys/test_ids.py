from random import Random

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from recsys.ids import UNKNOWN, IdMap

some_ids = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6), max_size=30)


def strings(values: list[str]) -> pl.Series:
    return pl.Series(values, dtype=pl.String)


def test_rows_are_the_places_in_the_order_of_ids():
    ids = IdMap.from_ids(pl.Series(["pear", "fig", None, "apple", "fig"]))
    assert ids.values.to_list() == ["apple", "fig", "pear"]
    assert ids.rows(pl.Series(["pear", "apple", "plum", None, "fig", "pear"])).tolist() == [2, 0, -1, -1, 1, 2]
    assert ids.ids(np.array([1, UNKNOWN, 2])).to_list() == ["fig", None, "pear"]


def test_numbers_are_known_by_their_text():
    ids = IdMap.from_ids(pl.Series([10, 9]))
    assert ids.values.to_list() == ["10", "9"]
    assert ids.rows(pl.Series([9, 10, 8])).tolist() == [1, 0, -1]
    assert ids.rows(pl.Series(["9"])).tolist() == [1]


@given(some_ids)
def test_every_id_comes_back_from_its_row(values: list[str]):
    ids = IdMap.from_ids(strings(values))
    assert ids.ids(ids.rows(strings(values))).to_list() == values
    everything = np.arange(len(ids), dtype=np.int32)
    assert ids.rows(ids.ids(everything)).tolist() == everything.tolist()


@given(some_ids)
def test_ids_are_sorted_and_each_is_there_once(values: list[str]):
    ids = IdMap.from_ids(strings(values))
    assert ids.values.to_list() == sorted(set(values), key=str.encode)
    assert len(ids) == len(set(values))


@given(some_ids, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(values: list[str], random: Random):
    shuffled = random.sample(values, len(values)) + values[:3]
    assert IdMap.from_ids(strings(values)).values.equals(IdMap.from_ids(strings(shuffled)).values)


@given(some_ids, some_ids)
def test_ids_that_are_not_there_are_unknown(known: list[str], requested: list[str]):
    rows = IdMap.from_ids(strings(known)).rows(strings(requested))
    assert rows.dtype == np.int32
    assert [row == UNKNOWN for row in rows] == [value not in known for value in requested]


def test_nothing_maps_to_nothing():
    ids = IdMap.from_ids(strings([]))
    assert len(ids) == 0
    assert ids.rows(strings(["a"])).tolist() == [UNKNOWN]
    assert ids.rows(strings([])).shape == (0,)
    assert ids.ids(np.array([UNKNOWN])).to_list() == [None]
    assert ids.ids(np.array([], dtype=np.int32)).to_list() == []


def test_the_requested_ids_stay_unchanged():
    requested = pl.Series("asked", ["b", "a"])
    IdMap.from_ids(requested).rows(requested)
    assert requested.equals(pl.Series("asked", ["b", "a"]), check_names=True)
