"""Whether one id keeps the rule of ids, as the server checks it."""

import time

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from recsys.schema import ID_PATTERN, is_id

IDS = [f"кофемашина-é-{number}" for number in range(1_500)]
"""As many as a request of 500 events has."""


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=140))
@example("é" * 128)
@example("é" * 129)
@example("é\u2028")
@example("\U0010ffff")
def test_an_id_is_what_the_pattern_matches(text: str) -> None:
    assert is_id(text) == pl.Series([text]).str.contains(ID_PATTERN)[0]


def test_half_of_a_character_is_no_id() -> None:
    assert not is_id("\ud800")


def test_ids_beyond_ascii_take_microseconds() -> None:
    def seconds() -> float:
        started = time.perf_counter()
        assert all(map(is_id, IDS))
        return time.perf_counter() - started

    assert min(seconds() for _ in range(3)) < 0.05
