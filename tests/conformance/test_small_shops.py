"""Every model on the smallest and on arbitrary shops."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.models.base import ItemModel
from recsys.ranking.top_k import Exclusion
from tests.conformance.assertions import (
    all_items,
    all_users,
    assert_is_list,
    every_list,
)
from tests.conformance.models import (
    build,
    every_model,
)


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """On matrices this small, threads of torch only wait for each other."""
    if find_spec("torch") is None:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


SMALLEST: dict[str, Sequence[tuple[int, int, float]]] = {
    "one user, one item": [(0, 0, 5.0)],
    "one user, one item, often": [(0, 0, 5.0)] * 20,
    "one user": [(0, item, 5.0) for item in range(5)],
    "one item": [(user, 0, 5.0) for user in range(5)],
    "one event each, of different items": [(user, user, 5.0) for user in range(5)],
    "everybody has everything": [(user, item, 5.0) for user in range(4) for item in range(3)],
    "one kept, the rest sent back": [(0, 0, 5.0), *((user, user, -5.0) for user in range(1, 5))],
    "huge and tiny weights": [(0, 0, 1e30), (0, 1, 1e-30), (1, 1, 1e30), (1, 2, 1e-30)],
}


@every_model
@pytest.mark.parametrize("events", SMALLEST.values(), ids=SMALLEST)
@pytest.mark.parametrize("defaults", [True, False], ids=["default settings", "small settings"])
def test_the_smallest_shops_give_lists(
    name: str, events: list[tuple[int, int, float]], defaults: bool, shop_of: Any
):
    smallest = shop_of(events)
    model = build(name, default_settings=defaults).fit(smallest)
    users, items = smallest.shape
    for of_model in every_list(model, smallest):
        assert_is_list(*of_model, of_model[0].shape, items)
    rows, scores = model.recommend(all_users(smallest), 4, Exclusion(smallest.user_items))
    assert_is_list(rows, scores, (users, 4), items)


WEIGHTS = st.sampled_from([5.0, 5.0, 1.0, 3.0, -5.0, 0.25])
SHOPS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), WEIGHTS), min_size=1, max_size=25)


@every_model
@settings(max_examples=20, deadline=None)
@given(events=SHOPS, n=st.integers(0, 9))
def test_any_shop_gives_lists(name: str, events: list[tuple[int, int, float]], n: int, shop_of: Any):
    some = shop_of([(0, 0, 40.0), *events])
    users, items = some.shape
    model = build(name).fit(some)
    rows, scores = model.recommend(all_users(some), n, Exclusion(some.user_items))
    assert_is_list(rows, scores, (users, n), items)
    for user, row in enumerate(rows):
        assert not set(row) & set(some.user_items[[user]].indices)
    if isinstance(model, ItemModel):
        rows, scores = model.similar(all_items(some), n)
        assert_is_list(rows, scores, (items, n), items)
        assert not (rows == all_items(some)[:, None]).any()
