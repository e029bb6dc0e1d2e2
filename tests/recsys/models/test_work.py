"""The work that each model gives of a fit and of ranking."""

import pytest

from recsys.models.base import Model
from recsys.models.ease import Ease, EaseConfig
from recsys.models.item_knn import ItemKnn, ItemKnnConfig
from recsys.models.registry import MODEL_NAMES, build_model, model_type
from recsys.models.work import common_pairs


def cpu_model(name: str) -> Model:
    """Build a model whose work does not depend on the machine of the test."""
    has_device = "device" in model_type(name).config_type.__dataclass_fields__
    return build_model(name, {"device": "cpu"} if has_device else {}, seed=0)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_each_model_says_its_work_and_a_larger_shop_is_more_work(name: str) -> None:
    assert model_type(name).work is not Model.work
    model = cpu_model(name)
    for work in (model.work, model.ranking_work):
        assert 0 < work(1_000, 500, 20_000) < work(10_000, 5_000, 200_000)


def test_work_of_known_sizes() -> None:
    assert common_pairs(100, 1_000) == 20_000  # 100 users with 10 items each, twice 10 ** 2 pairs
    item_knn = ItemKnn(ItemKnnConfig(neighbors=50))
    assert item_knn.work(100, 40, 1_000) == pytest.approx(20 * 20_000 / 1e9)
    assert item_knn.ranking_work(100, 400, 1_000) == pytest.approx((20_000 * 100 + 20 * 1_000 * 50) / 1e9)
    ease = Ease(EaseConfig(dense_items=1_000))
    assert ease.work(100, 1_000, 1_000) == pytest.approx((20 * 20_000 + 2 * 0.04 * 1_000**3) / 1e9)
    assert ease.work(100, 1_001, 1_000) < ease.work(100, 1_000, 1_000) * 100
