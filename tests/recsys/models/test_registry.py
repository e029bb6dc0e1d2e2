import sys
from typing import Any

import pytest

from recsys.errors import SettingsError
from recsys.models.als import Als, AlsConfig
from recsys.models.base import ItemModel
from recsys.models.bpr import BprConfig
from recsys.models.registry import MODEL_NAMES, build_model, model_type


def test_values_override_the_defaults_and_the_seed():
    als, bpr = build_model("als", {"factors": 7, "alpha": 3}, 5), build_model("bpr", {"seed": 9}, 5)
    assert vars(als)["config"] == AlsConfig(factors=7, alpha=3, seed=5)
    assert vars(bpr)["config"] == BprConfig(seed=9)


def test_the_device_of_the_settings_is_taken_by_models_that_have_one():
    assert vars(build_model("als", {}, 0, "cpu"))["config"] == AlsConfig(device="cpu")
    assert vars(build_model("bpr", {"device": "auto"}, 0, "cpu"))["config"] == BprConfig(device="auto")
    build_model("item_knn", {}, 0, "cpu")


def test_cuda_where_there_is_none_is_refused_before_the_fit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "recsys.ranking.cuda", None)  # as without torch
    with pytest.raises(SettingsError, match=r"^device = 'cuda' needs torch"):
        build_model("als", {}, 0, "cuda")
    build_model("popularity", {}, 0, "cuda")


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_model_is_built_from_defaults_under_its_name(name: str):
    assert type(build_model(name, {}, 0)) is model_type(name)


def test_which_models_know_likeness():
    knowing = {
        "item_knn",
        "ease",
        "slim",
        "rp3beta",
        "gf_cf",
        "bspm",
        "ials",
        "als",
        "bpr",
        "softmax_mf",
        "light_gcn",
    }
    assert {name for name in MODEL_NAMES if issubclass(model_type(name), ItemModel)} == knowing
    assert model_type("als") is Als


@pytest.mark.parametrize("call", [model_type, lambda name: build_model(name, {}, 0)])
def test_a_wrong_name(call: Any):
    with pytest.raises(SettingsError, match="there is no model 'asl'; expected one of popularity, trending"):
        call("asl")


def test_a_wrong_field():
    with pytest.raises(SettingsError) as raised:
        build_model("als", {"factor": 8}, 0)
    expected = "factors, regularization, alpha, epochs, popularity, seed, device"
    assert str(raised.value) == f"model_settings.als: factor = 8: there is no such setting; expected {expected}"


WRONG = [
    ("als", "factors", "many", "valid integer"),
    ("als", "factors", 0, "greater than 0"),
    ("als", "regularization", -1.0, "greater than or equal to 0"),
    ("als", "alpha", float("nan"), "finite number"),
    ("als", "seed", -1, "greater than or equal to 0"),
    ("bpr", "learning_rate", 0.0, "greater than 0"),
    ("bpr", "epochs", 1.5, "valid integer"),
    ("item_knn", "similarity", "jaccard", "'cosine' or 'bm25'"),
    ("item_knn", "neighbors", 0, "greater than 0"),
    ("item_knn", "bm25_b", 1.1, "less than or equal to 1"),
    ("popularity", "saturation", -0.1, "greater than or equal to 0"),
    ("trending", "recent_days", 0.0, "greater than 0"),
    ("trending", "usual_days", float("inf"), "finite number"),
    ("repurchase", "half_life_days", [90], "valid number"),
    ("repurchase", "prior_gaps", 0, "greater than 0"),
]


@pytest.mark.parametrize(("name", "field", "value", "expected"), WRONG)
def test_a_wrong_value(name: str, field: str, value: Any, expected: str):
    with pytest.raises(SettingsError) as raised:
        build_model(name, {field: value}, 0)
    assert str(raised.value).startswith(f"model_settings.{name}: {field} = {value!r}: ")
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_wrong_seed_of_the_settings():
    with pytest.raises(SettingsError, match=r"^model_settings\.als: seed = -4: "):
        build_model("als", {}, -4)
