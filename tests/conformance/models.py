"""The models under the conformance suite: those of the registry, and a blend of two of them."""

from importlib import import_module

import pytest

from recsys.models.base import ItemModel, Model
from recsys.models.blend import Blend, BlendConfig
from recsys.models.registry import MODEL_NAMES, MODELS, build_model, model_type
from tests.conformance.expectations import Expectations

BLEND_MEMBERS = ("item_knn", "als")
EVERY_MODEL = [*MODEL_NAMES, Blend.name]
ITEM_MODELS = [model.name for model in MODELS if issubclass(model, ItemModel)]


def class_of(name: str) -> type[Model]:
    return Blend if name == Blend.name else model_type(name)


def expectations(name: str) -> Expectations:
    """What the model's test module says of it."""
    package, _, module = class_of(name).__module__.rpartition(".")
    return getattr(import_module(f"tests.{package}.test_{module}"), "CONFORMANCE", Expectations())


PERSONAL = [name for name in EVERY_MODEL if expectations(name).is_personal]

every_model = pytest.mark.parametrize("name", EVERY_MODEL)
every_item_model = pytest.mark.parametrize("name", ITEM_MODELS)


def build(name: str, default_settings: bool = False) -> Model:
    """A model that is not fitted, with settings for small shops or the defaults."""
    if name != Blend.name:
        return build_model(name, {} if default_settings else expectations(name).settings, 3)
    config = BlendConfig(BLEND_MEMBERS, light=(0.7, 0.3), heavy=(0.4, 0.6), light_user_events=8)
    return Blend(config, {member: build(member, default_settings) for member in BLEND_MEMBERS})
