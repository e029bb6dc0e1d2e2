"""The models under the conformance suite, how they are built for it, and where one is an exception."""

from typing import Any

import pytest

from recsys.data.interactions import Interactions
from recsys.models.base import ItemModel, Model
from recsys.models.blend import Blend, BlendConfig
from recsys.models.registry import MODEL_NAMES as MODELS
from recsys.models.registry import build_model, model_type

# Settings that suit matrices of a few hundred entries; the defaults are for a shop's.
SMALL: dict[str, dict[str, Any]] = {
    "als": {"factors": 8, "regularization": 0.5},
    "bpr": {"factors": 8, "learning_rate": 0.1, "epochs": 60},
    "ials": {"factors": 8, "regularization": 0.3, "unobserved_weight": 1.0},
    "bspm": {"factors": 2},
    "light_gcn": {"embedding_size": 8, "negatives": 16, "batch_size": 64, "learning_rate": 0.05, "epochs": 12},
    "slim": {"l1_regularization": 0.001},
    "buy_again": {"horizon_days": 60, "windows": 1, "leaf_rows": 5, "trees": 10},
}
BLEND = "blend"
MEMBERS = ("item_knn", "als")
EVERY_MODEL = [*MODELS, BLEND]
SAME_FOR_ALL = {"popularity", "trending"}
# Ranks what a user never had like everybody else.
ONLY_REPEATS = {"repurchase", "buy_again"}
# Learns from what users bought after a moment, and on the checkerboard nobody buys anything twice.
LEARNS_FROM_REPEATS = {"buy_again"}
# Counts places among what may be shown, so that what is left out moves the rest.
RANKS_WHAT_IS_LEFT = {BLEND}
# Counts demand, whether or not the goods came back.
IGNORES_REFUNDS = {"trending"}
ITEM_MODELS = [name for name in MODELS if issubclass(model_type(name), ItemModel)]
PERSONAL = [name for name in EVERY_MODEL if name not in SAME_FOR_ALL]

every_model = pytest.mark.parametrize("name", EVERY_MODEL)
every_item_model = pytest.mark.parametrize("name", ITEM_MODELS)


def built(name: str, small: bool = True) -> Model:
    if name != BLEND:
        return build_model(name, SMALL.get(name, {}) if small else {}, 3)
    config = BlendConfig(MEMBERS, light=(0.7, 0.3), heavy=(0.4, 0.6), light_user_events=8)
    return Blend(config, {member: built(member, small) for member in MEMBERS})


def type_of(name: str) -> type[Model]:
    return Blend if name == BLEND else model_type(name)


def fitted(name: str, interactions: Interactions) -> Model:
    return built(name).fit(interactions)


def fitted_item_model(name: str, interactions: Interactions) -> ItemModel:
    model = fitted(name, interactions)
    assert isinstance(model, ItemModel)
    return model
