"""Models by name, built from what the settings say of them."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter

from recsys.errors import SettingsError
from recsys.models.als import Als, AlsConfig
from recsys.models.base import Model
from recsys.models.bpr import Bpr, BprConfig
from recsys.models.bspm import Bspm, BspmConfig
from recsys.models.buy_again import BuyAgain, BuyAgainConfig
from recsys.models.ease import Ease, EaseConfig
from recsys.models.gf_cf import GfCf, GfCfConfig
from recsys.models.ials import Ials, IalsConfig
from recsys.models.item_knn import ItemKnn, ItemKnnConfig
from recsys.models.light_gcn import LightGcn, LightGcnConfig
from recsys.models.popularity import Popularity, PopularityConfig
from recsys.models.repurchase import Repurchase, RepurchaseConfig
from recsys.models.rp3beta import Rp3Beta, Rp3BetaConfig
from recsys.models.slim import Slim, SlimConfig
from recsys.models.trending import Trending, TrendingConfig
from recsys.models.user_knn import UserKnn, UserKnnConfig
from recsys.ranking.factors import find_cuda
from recsys.settings import parse
from recsys.settings.types import Device

MODELS: dict[str, tuple[type[Any], type[Any]]] = {
    "popularity": (Popularity, PopularityConfig),
    "trending": (Trending, TrendingConfig),
    "item_knn": (ItemKnn, ItemKnnConfig),
    "gf_cf": (GfCf, GfCfConfig),
    "bspm": (Bspm, BspmConfig),
    "ease": (Ease, EaseConfig),
    "slim": (Slim, SlimConfig),
    "rp3beta": (Rp3Beta, Rp3BetaConfig),
    "user_knn": (UserKnn, UserKnnConfig),
    "ials": (Ials, IalsConfig),
    "als": (Als, AlsConfig),
    "bpr": (Bpr, BprConfig),
    "light_gcn": (LightGcn, LightGcnConfig),
    "repurchase": (Repurchase, RepurchaseConfig),
    "buy_again": (BuyAgain, BuyAgainConfig),
}


def build_model(name: str, values: Mapping[str, Any], seed: int, device: Device = "auto") -> Model:
    """The model called `name`, not yet fitted; `values` are for fields of its config, over `seed` and `device`.

    Raises `SettingsError` for a name or a field that does not exist, a value that is not accepted, or a device that
    is not there.
    """
    model, config = _find(name)
    known = [field.name for field in fields(config)]
    for key in values:
        if key not in known:
            problem = f"there is no such setting; expected {', '.join(known)}"
            raise SettingsError(f"model_settings.{name}: {key} = {values[key]!r}: {problem}")
    given = {key: value for key, value in (("seed", seed), ("device", device)) if key in known}
    built = parse(TypeAdapter(config), {**given, **values}, f"model_settings.{name}")
    if getattr(built, "device", None) == "cuda":
        find_cuda("cuda")  # raises where there is none, before a long fit
    return model(built)


def model_type(name: str) -> type[Model]:
    """The class of the model called `name`; raises `SettingsError` when there is none."""
    return _find(name)[0]


def _find(name: str) -> tuple[type[Any], type[Any]]:
    if name not in MODELS:
        raise SettingsError(f"there is no model {name!r}; expected one of {', '.join(MODELS)}")
    return MODELS[name]
