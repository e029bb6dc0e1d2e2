"""Requests as structs: category paths with commas between, and in them."""

import pytest

from serving.requests import split_paths

NAMES = ("TEA>GREEN", "WINE", "NUTS, DRIED>ALMONDS", "NUTS", "DRIED", "FISH,MEAT", "MEAT")


@pytest.mark.parametrize(
    ("texts", "paths"),
    [
        (("TEA,WINE",), ["TEA", "WINE"]),
        (("TEA>GREEN , WINE",), ["TEA>GREEN", "WINE"]),
        (("NUTS, DRIED",), ["NUTS, DRIED"]),
        (("DRIED, NUTS",), ["DRIED", "NUTS"]),
        (("WINE,NUTS, DRIED>ALMONDS,FISH,MEAT,TEA",), ["WINE", "NUTS, DRIED>ALMONDS", "FISH,MEAT", "TEA"]),
        (("FISH,WINE,,BEER", "WINE,MEAT"), ["WINE", "MEAT"]),
        (("BEER", "TEA"), ["BEER", "TEA"]),
        ((",",), []),
    ],
)
def test_a_text_is_split_at_commas_that_are_in_no_path(texts: tuple[str, ...], paths: list[str]) -> None:
    assert split_paths(texts, NAMES) == paths
