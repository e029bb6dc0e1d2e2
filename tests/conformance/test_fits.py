"""Fits of every model: reproducible, without traces in the input, and what refunds do to them."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.models import artifacts
from recsys.models.base import ItemModel, Model
from recsys.models.registry import MODEL_NAMES
from recsys.ranking.top_k import Exclusion
from tests.conformance.assertions import (
    all_items,
    all_users,
    assert_is_list,
    assert_same_model,
    every_list,
)
from tests.conformance.models import (
    build,
    every_model,
    expectations,
)

Fitted = Callable[[str, Interactions], Model]


@every_model
def test_refit_equals_fresh_fit(name: str, fitted: Fitted, shop: Interactions, checkerboard: Interactions):
    used = build(name).fit(checkerboard)
    every_list(used, checkerboard)
    assert_same_model(used.fit(shop), fitted(name, shop), shop)


@every_model
def test_same_seed_same_result_and_same_file(name: str, fitted: Fitted, shop: Interactions, tmp_path: Path):
    files: set[bytes] = set()
    models = [fitted(name, shop), *(build(name).fit(shop) for _ in range(3))]
    for number, model in enumerate(models):
        directory = tmp_path / str(number)
        directory.mkdir()
        model.save(directory)
        files |= {(directory / artifacts.FILE).read_bytes()}
        assert_same_model(model, models[0], shop)
    assert len(files) == 1


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
    users, before = all_users(shop), {key: array.copy() for key, array in arrays_of(shop, exclude).items()}
    model = build(name).fit(shop)
    model.recommend(users, 5, exclude)
    if isinstance(model, ItemModel):
        model.similar(all_items(shop), 5, exclude)
    np.testing.assert_array_equal(users, all_users(shop))
    after = arrays_of(shop, exclude)
    assert len(after) == 16
    for key, array in before.items():
        np.testing.assert_array_equal(after[key], array, err_msg=key)


EVENTS = [(user, item, 5.0) for user in range(6) for item in range(5) if (user + item) % 3]


@every_model
def test_a_refund_of_what_was_never_bought_changes_nothing(name: str, shop_of: Any):
    plain, refunded = shop_of(EVENTS), shop_of([(0, 0, -5.0), *EVENTS])
    assert refunded.user_items.nnz == plain.user_items.nnz + 1
    assert_same_model(build(name).fit(refunded), build(name).fit(plain), plain)


@every_model
def test_a_user_who_sent_everything_back_gets_a_list_or_none(name: str, shop_of: Any):
    returned = shop_of([*EVENTS, (6, 1, 5.0), (6, 1, -5.0), (6, 5, 5.0), (6, 5, -9.0)])
    model = build(name).fit(returned)
    rows, scores = model.recommend(all_users(returned), 6, Exclusion(returned.user_items))
    assert_is_list(rows, scores, (7, 6), 6)
    assert not set(rows[6]) & {1, 5}
    for of_model in every_list(model, returned):
        assert_is_list(*of_model, of_model[0].shape, 6)


@pytest.mark.parametrize("name", [name for name in MODEL_NAMES if expectations(name).counts_refunds])
def test_what_everybody_sent_back_is_worth_less_than_what_anybody_kept(name: str, shop_of: Any):
    back = [(user, 5, weight) for user in range(6) for weight in (5.0, -5.0)]
    returned = shop_of([*back, *EVENTS])
    rows, _ = build(name).fit(returned).recommend(all_users(returned), 3)
    assert 5 not in rows
