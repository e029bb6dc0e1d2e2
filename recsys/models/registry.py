"""The list of models, and their construction from settings."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from pydantic import TypeAdapter

from recsys.errors import SettingsError
from recsys.models.als import Als
from recsys.models.base import Model
from recsys.models.bpr import Bpr
from recsys.models.bspm import Bspm
from recsys.models.buy_again import BuyAgain
from recsys.models.ease import Ease
from recsys.models.gf_cf import GfCf
from recsys.models.ials import Ials
from recsys.models.item_knn import ItemKnn
from recsys.models.light_gcn import LightGcn
from recsys.models.next_basket.markov_chain import MarkovChain
from recsys.models.next_basket.next_basket import NextBasket
from recsys.models.next_basket.tifu_knn import TifuKnn
from recsys.models.next_basket.up_cf import UpCf
from recsys.models.popularity import Popularity
from recsys.models.repurchase import Repurchase
from recsys.models.rp3beta import Rp3Beta
from recsys.models.slim import Slim
from recsys.models.softmax_mf import SoftmaxMf
from recsys.models.trending import Trending
from recsys.models.user_knn import UserKnn
from recsys.ranking.factors import find_cuda
from recsys.settings import parse
from recsys.settings.types import Device

MODELS: Final[tuple[type[Model], ...]] = (
    Popularity,
    Trending,
    ItemKnn,
    GfCf,
    Bspm,
    Ease,
    Slim,
    Rp3Beta,
    UserKnn,
    Ials,
    Als,
    Bpr,
    SoftmaxMf,
    LightGcn,
    Repurchase,
    BuyAgain,
    TifuKnn,
    UpCf,
    MarkovChain,
    NextBasket,
)
MODEL_NAMES: Final = tuple(model.name for model in MODELS)


def model_type(name: str) -> type[Model]:
    """Return the class of the model called `name`; raise `SettingsError` when there is none."""
    if name not in MODEL_NAMES:
        raise SettingsError(f"there is no model {name!r}; expected one of {', '.join(MODEL_NAMES)}")
    return MODELS[MODEL_NAMES.index(name)]


def build_model(name: str, values: Mapping[str, Any], seed: int, device: Device = "auto") -> Model:
    """Build the model called `name`, not yet fitted, with `values` for fields of its config.

    `seed` and `device` apply where the config has such a field and `values` does not. Raises `SettingsError` for an
    unknown name or field, a value out of range, or a device that is not there.
    """
    model = model_type(name)
    field_names = [field.name for field in fields(model.config_type)]
    for key in values:
        if key not in field_names:
            problem = f"there is no such setting; expected {', '.join(field_names)}"
            raise SettingsError(f"model_settings.{name}: {key} = {values[key]!r}: {problem}")
    defaults = {key: value for key, value in (("seed", seed), ("device", device)) if key in field_names}
    config = parse(TypeAdapter(model.config_type), {**defaults, **values}, f"model_settings.{name}")
    if getattr(config, "device", None) == "cuda":
        find_cuda("cuda")  # fails before a long fit when there is none
    return model(config)
