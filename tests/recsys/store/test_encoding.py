import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from recsys.store.encoding import decode_list, encode_lists

# An id has no control characters (C) and no white space (Z).
ids = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=10)


def test_a_list_is_its_ids_with_one_space_between() -> None:
    lists = pl.Series([["b", "a:1", "{ü}"], ["x"]])
    assert encode_lists(lists).to_list() == ["b a:1 {ü}".encode(), b"x"]


@given(st.lists(st.lists(ids, min_size=1, max_size=5), min_size=1, max_size=5))
def test_decode_gives_back_what_was_encoded(lists: list[list[str]]) -> None:
    values = encode_lists(pl.Series(lists, dtype=pl.List(pl.String))).to_list()
    assert [decode_list(value) for value in values] == lists
    assert [decode_list(value.decode()) for value in values] == lists


def test_a_key_that_does_not_exist_is_an_empty_list() -> None:
    assert decode_list(None) == []
    assert decode_list(b"") == []
