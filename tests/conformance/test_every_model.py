"""What every model of the registry must do; a model joins by being listed there."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.errors import ModelError
from recsys.ids import UNKNOWN, Rows
from recsys.models import artifacts
from recsys.models.base import ItemModel, Model
from recsys.models.registry import MODEL_NAMES as MODELS
from recsys.ranking.top_k import Exclusion, Scores
from tests.conformance.models import (
    IGNORES_REFUNDS,
    LEARNS_FROM_REPEATS,
    ONLY_REPEATS,
    PERSONAL,
    RANKS_WHAT_IS_LEFT,
    built,
    every_item_model,
    every_model,
    fitted,
    fitted_item_model,
    type_of,
)


def everyone(interactions: Interactions) -> Rows:
    return np.arange(interactions.shape[0], dtype=np.int32)


def every_item(interactions: Interactions) -> Rows:
    return np.arange(interactions.shape[1], dtype=np.int32)


def assert_is_list(rows: Rows, scores: Scores, shape: tuple[int, int], items: int) -> None:
    """Distinct items with finite scores, best first, ties by item row; then nothing but padding."""
    assert rows.shape == scores.shape == shape
    assert rows.dtype == np.int32
    assert scores.dtype == np.float32
    for row, score in zip(rows, scores, strict=True):
        size = int((row != UNKNOWN).sum())
        assert (row[size:] == UNKNOWN).all()
        assert (score[size:] == -np.inf).all()
        assert np.isfinite(score[:size]).all()
        assert len(set(row[:size])) == size
        assert ((row[:size] >= 0) & (row[:size] < items)).all()
        falls = np.diff(score[:size]) < 0
        ties = (np.diff(score[:size]) == 0) & (np.diff(row[:size]) > 0)
        assert (falls | ties).all()


def assert_same(one: tuple[Rows, Scores], other: tuple[Rows, Scores]) -> None:
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


def answers(model: Model, interactions: Interactions) -> list[tuple[Rows, Scores]]:
    """Everything the model says: a list for every user, and for every item where it knows likeness."""
    found = [model.recommend(everyone(interactions), interactions.shape[1])]
    if isinstance(model, ItemModel):
        found.append(model.similar(every_item(interactions), interactions.shape[1]))
    return found


def assert_says_the_same(one: Model, other: Model, interactions: Interactions) -> None:
    for of_one, of_other in zip(answers(one, interactions), answers(other, interactions), strict=True):
        assert_same(of_one, of_other)


@every_model
def test_lists_are_well_formed(name: str, shop: Interactions):
    users, items = shop.shape
    rows, scores = fitted(name, shop).recommend(everyone(shop), 5)
    assert_is_list(rows, scores, (users, 5), items)
    assert (rows[:, 0] != UNKNOWN).all()


@every_model
def test_batch_equals_single(name: str, shop: Interactions):
    model, exclude = fitted(name, shop), Exclusion(shop.user_items)
    order = np.array([4, 0, UNKNOWN, 29, 4, 17], np.int32)
    rows, scores = model.recommend(order, 6, exclude)
    for place, user in enumerate(order):
        row, score = model.recommend(np.array([user], np.int32), 6, exclude)
        np.testing.assert_array_equal(row[0], rows[place])
        np.testing.assert_array_equal(score[0], scores[place])


@every_model
def test_lists_are_in_the_order_of_the_scores(name: str, shop: Interactions):
    model, items = fitted(name, shop), shop.shape[1]
    rows, scores = model.recommend(everyone(shop), items)
    assert (np.sort(rows, axis=1) == every_item(shop)).all()
    of_all = model.scores(everyone(shop))
    np.testing.assert_allclose(scores, np.take_along_axis(of_all, rows, axis=1), rtol=1e-5, atol=1e-6)


@every_model
def test_a_shorter_list_is_the_head_of_a_longer_one(name: str, shop: Interactions):
    model = fitted(name, shop)
    short, long = model.recommend(everyone(shop), 3), model.recommend(everyone(shop), 10)
    np.testing.assert_array_equal(short[0], long[0][:, :3])
    np.testing.assert_array_equal(short[1], long[1][:, :3])


@every_model
def test_seen_and_masked_items_are_excluded_and_no_others(name: str, shop: Interactions):
    items = shop.shape[1]
    model, mask = fitted(name, shop), np.arange(items) % 5 == 0
    all_rows, _ = model.recommend(everyone(shop), items)
    rows, scores = model.recommend(everyone(shop), items, Exclusion(shop.user_items, mask))
    assert_is_list(rows, scores, all_rows.shape, items)
    for user, (row, every) in enumerate(zip(rows, all_rows, strict=True)):
        barred = set(shop.user_items[[user]].indices) | set(np.flatnonzero(mask))
        left = [item for item in every if item not in barred and item != UNKNOWN]
        listed = list(row[row != UNKNOWN])
        assert sorted(listed) == sorted(left) if name in RANKS_WHAT_IS_LEFT else listed == left


@every_model
def test_padding_stands_only_at_the_end(name: str, shop: Interactions):
    users, items = shop.shape
    rows, scores = fitted(name, shop).recommend(everyone(shop), items + 4)
    assert_is_list(rows, scores, (users, items + 4), items)
    assert (rows[:, items:] == UNKNOWN).all()


@every_model
def test_unknown_users_and_empty_input(name: str, shop: Interactions):
    model, exclude = fitted(name, shop), Exclusion(shop.user_items)
    rows, scores = model.recommend(np.array([UNKNOWN, UNKNOWN], np.int32), 4, exclude)
    assert (rows == UNKNOWN).all()
    assert (scores == -np.inf).all()
    assert_is_list(*model.recommend(np.array([], np.int32), 4, exclude), (0, 4), shop.shape[1])
    assert_is_list(*model.recommend(everyone(shop), 0, exclude), (shop.shape[0], 0), shop.shape[1])


@every_model
def test_refit_equals_fresh_fit(name: str, shop: Interactions, checkerboard: Interactions):
    used = fitted(name, checkerboard)
    answers(used, checkerboard)
    assert_says_the_same(used.fit(shop), fitted(name, shop), shop)


@every_model
def test_same_seed_same_result_and_same_file(name: str, shop: Interactions, tmp_path: Path):
    files: set[bytes] = set()
    models = [fitted(name, shop) for _ in range(4)]
    for number, model in enumerate(models):
        directory = tmp_path / str(number)
        directory.mkdir()
        model.save(directory)
        files |= {(directory / artifacts.FILE).read_bytes()}
        assert_says_the_same(model, models[0], shop)
    assert len(files) == 1


@every_model
def test_a_loaded_model_says_the_same(name: str, shop: Interactions, tmp_path: Path):
    model = fitted(name, shop)
    model.save(tmp_path)
    loaded = type_of(name).load(tmp_path)
    assert_says_the_same(loaded, model, shop)
    assert vars(loaded)["config"] == vars(model)["config"]


@every_model
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "rubbish"])
def test_a_damaged_file_is_an_error(name: str, damage: str, shop: Interactions, tmp_path: Path):
    fitted(name, shop).save(tmp_path)
    path = tmp_path / artifacts.FILE
    content = path.read_bytes()
    path.write_bytes({"truncated": content[:-7], "rubbish": b"\x07" * 400}.get(damage, b""))
    if damage == "missing":
        path.unlink()
    with pytest.raises(ModelError, match=artifacts.FILE) as raised:
        type_of(name).load(tmp_path)
    assert "\n" not in str(raised.value)


@every_model
def test_another_models_file_is_an_error(name: str, shop: Interactions, tmp_path: Path):
    other = next(other for other in MODELS if other != name)
    fitted(other, shop).save(tmp_path)
    with pytest.raises(ModelError, match=f"holds model {other} in format 1; expected {name}"):
        type_of(name).load(tmp_path)


@every_model
def test_another_formats_file_is_an_error(
    name: str, shop: Interactions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(artifacts, "FORMAT", "0")
    fitted(name, shop).save(tmp_path)
    monkeypatch.undo()
    with pytest.raises(ModelError, match=f"holds model {name} in format 0; expected {name} in 1"):
        type_of(name).load(tmp_path)


def arrays_of(interactions: Interactions, exclude: Exclusion) -> dict[str, np.ndarray]:
    matrices = {
        "user_items": interactions.user_items,
        "positives": interactions.positives,
        "exclude": exclude.user_items,
    }
    arrays = {
        f"{key}.{part}": getattr(matrix, part)
        for key, matrix in matrices.items()
        for part in ("data", "indices", "indptr")
    }
    columns = {field.name: getattr(interactions, field.name) for field in fields(interactions)}
    arrays |= {key: column for key, column in columns.items() if isinstance(column, np.ndarray)}
    assert exclude.items is not None
    return arrays | {"mask": exclude.items}


@every_model
def test_inputs_stay_as_they_are(name: str, shop: Interactions):
    exclude = Exclusion(csr_matrix(shop.user_items[:, ::-1]), np.arange(shop.shape[1]) < 2)
    users, before = everyone(shop), {key: array.copy() for key, array in arrays_of(shop, exclude).items()}
    model = fitted(name, shop)
    model.recommend(users, 5, exclude)
    if isinstance(model, ItemModel):
        model.similar(every_item(shop), 5, exclude)
    np.testing.assert_array_equal(users, everyone(shop))
    after = arrays_of(shop, exclude)
    assert len(after) == 14
    for key, array in before.items():
        np.testing.assert_array_equal(after[key], array, err_msg=key)


@every_model
def test_lists_do_not_share_memory_with_the_model(name: str, shop: Interactions):
    model = fitted(name, shop)
    first = model.recommend(everyone(shop), 5)
    kept = first[0].copy(), first[1].copy()
    first[0][:], first[1][:] = 0, np.nan
    assert_same(model.recommend(everyone(shop), 5), kept)


EVENTS = [(user, item, 5.0) for user in range(6) for item in range(5) if (user + item) % 3]


@every_model
def test_a_refund_of_what_was_never_bought_changes_nothing(name: str, shop_of: Any):
    plain, refunded = shop_of(EVENTS), shop_of([(0, 0, -5.0), *EVENTS])
    assert refunded.user_items.nnz == plain.user_items.nnz + 1
    assert_says_the_same(fitted(name, refunded), fitted(name, plain), plain)


@every_model
def test_a_user_who_sent_everything_back_gets_a_list_or_none(name: str, shop_of: Any):
    returned = shop_of([*EVENTS, (6, 1, 5.0), (6, 1, -5.0), (6, 5, 5.0), (6, 5, -9.0)])
    model = fitted(name, returned)
    rows, scores = model.recommend(everyone(returned), 6, Exclusion(returned.user_items))
    assert_is_list(rows, scores, (7, 6), 6)
    assert not set(rows[6]) & {1, 5}
    for of_model in answers(model, returned):
        assert_is_list(*of_model, of_model[0].shape, 6)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in IGNORES_REFUNDS])
def test_what_everybody_sent_back_is_worth_less_than_what_anybody_kept(name: str, shop_of: Any):
    back = [(user, 5, weight) for user in range(6) for weight in (5.0, -5.0)]
    returned = shop_of([*back, *EVENTS])
    rows, _ = fitted(name, returned).recommend(everyone(returned), 3)
    assert 5 not in rows


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
    model = built(name, small=not defaults).fit(smallest)
    users, items = smallest.shape
    for of_model in answers(model, smallest):
        assert_is_list(*of_model, of_model[0].shape, items)
    rows, scores = model.recommend(everyone(smallest), 4, Exclusion(smallest.user_items))
    assert_is_list(rows, scores, (users, 4), items)


WEIGHTS = st.sampled_from([5.0, 5.0, 1.0, 3.0, -5.0, 0.25])
SHOPS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), WEIGHTS), min_size=1, max_size=25)


@every_model
@settings(max_examples=20, deadline=None)
@given(events=SHOPS, n=st.integers(0, 9))
def test_any_shop_gives_lists(name: str, events: list[tuple[int, int, float]], n: int, shop_of: Any):
    some = shop_of([(0, 0, 40.0), *events])
    users, items = some.shape
    model = fitted(name, some)
    rows, scores = model.recommend(everyone(some), n, Exclusion(some.user_items))
    assert_is_list(rows, scores, (users, n), items)
    for user, row in enumerate(rows):
        assert not set(row) & set(some.user_items[[user]].indices)
    if isinstance(model, ItemModel):
        rows, scores = model.similar(every_item(some), n)
        assert_is_list(rows, scores, (items, n), items)
        assert not (rows == every_item(some)[:, None]).any()


@pytest.mark.parametrize("name", [name for name in PERSONAL if name not in LEARNS_FROM_REPEATS])
def test_on_a_checkerboard_everybody_is_recommended_the_own_colour(name: str, checkerboard: Interactions):
    rows, _ = fitted(name, checkerboard).recommend(everyone(checkerboard), 8)
    np.testing.assert_array_equal(rows % 2, np.tile(everyone(checkerboard)[:, None] % 2, (1, 8)))


@pytest.mark.parametrize("name", [name for name in PERSONAL if name not in ONLY_REPEATS])
def test_on_a_checkerboard_the_missing_items_of_the_own_colour_come_first(name: str, checkerboard: Interactions):
    exclude = Exclusion(checkerboard.user_items)
    rows, _ = fitted(name, checkerboard).recommend(everyone(checkerboard), 2, exclude)
    np.testing.assert_array_equal(rows % 2, np.tile(everyone(checkerboard)[:, None] % 2, (1, 2)))


@every_item_model
def test_on_a_checkerboard_items_are_like_those_of_their_colour(name: str, checkerboard: Interactions):
    rows, _ = fitted_item_model(name, checkerboard).similar(every_item(checkerboard), 9)
    np.testing.assert_array_equal(rows % 2, np.tile(every_item(checkerboard)[:, None] % 2, (1, 9)))


@every_item_model
def test_similar_items_are_never_the_item_itself_nor_masked(name: str, shop: Interactions):
    items = shop.shape[1]
    model, mask = fitted_item_model(name, shop), np.arange(items) % 3 == 1
    open_rows, _ = model.similar(every_item(shop), items)
    rows, scores = model.similar(every_item(shop), items, Exclusion(shop.user_items, mask))
    assert_is_list(rows, scores, (items, items), items)
    for item, (row, every) in enumerate(zip(rows, open_rows, strict=True)):
        assert item not in every
        assert list(row[row != UNKNOWN]) == [other for other in every if other != UNKNOWN and not mask[other]]
        assert (row != UNKNOWN).any()


@every_item_model
def test_similar_items_of_unknown_items_and_empty_input(name: str, shop: Interactions):
    model, items = fitted_item_model(name, shop), shop.shape[1]
    asked = np.array([UNKNOWN, 2, UNKNOWN], np.int32)
    rows, scores = model.similar(asked, 4)
    assert_is_list(rows, scores, (3, 4), items)
    assert (rows[[0, 2]] == UNKNOWN).all()
    np.testing.assert_array_equal(rows[1], model.similar(np.array([2], np.int32), 4)[0][0])
    assert_is_list(*model.similar(np.array([], np.int32), 4), (0, 4), items)
