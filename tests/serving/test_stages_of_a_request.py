import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recsys.schema import ID_PATTERN, is_id
from recsys.store.read import UserItems
from serving.recommendations import InvalidValueError, Recommendation, answer, user_of

PREFIX = b"/v1/recommendations/"


@given(st.text(max_size=6))
@example("")
@example("x" * 128)
@example("x" * 129)
@example("no\u00a0break")
@example("\u2028")
@example("soft\u00adhyphen")
@example("\ue000")
@example("ü/%+?#&")
def test_an_id_is_what_the_contract_s_pattern_says(text: str) -> None:
    matched = pl.select(pl.lit(text).str.contains(ID_PATTERN)).item()
    assert is_id(text) == matched


@pytest.mark.parametrize(
    ("encoded", "user_id"),
    [
        (b"7", "7"),
        (b"a%2Fb", "a/b"),
        (b"a/b", "a/b"),
        (b"a%2F%2Fb/", "a//b/"),
        (b"%C3%BC", "ü"),
        (b"50%25", "50%"),
        (b"50%2525", "50%25"),
        (b"a+b", "a+b"),
        (b"%3Fn=1", "?n=1"),
        (PREFIX, "/v1/recommendations/"),
    ],
)
def test_a_user_is_what_stands_encoded_behind_the_prefix(encoded: bytes, user_id: str) -> None:
    assert user_of(PREFIX + encoded, PREFIX) == user_id


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        (b"", ""),
        (b"a%20b", "a b"),
        (b"%00", "\0"),
        (b"x" * 129, "x" * 129),
        (b"%FF", "%FF"),
        (b"%ED%A0%80", "%ED%A0%80"),
    ],
)
def test_what_is_no_id_is_told_with_what_was_expected(encoded: bytes, value: str) -> None:
    with pytest.raises(InvalidValueError, match="1 to 128 characters") as error:
        user_of(PREFIX + encoded, PREFIX)
    assert (error.value.field, error.value.value) == ("user_id", value)


def test_an_answer_has_the_first_items_in_order() -> None:
    made = answer("7", UserItems(["a", "b", "c"], "personal", "v"), 2, "r")
    assert made.items == [Recommendation("a", 1), Recommendation("b", 2)]
    assert (made.user_id, made.version, made.source, made.request_id) == ("7", "v", "personal", "r")
