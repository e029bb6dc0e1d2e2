"""Files of every model: a loaded model gives the same lists, and a wrong file is an error."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.data.interactions import Interactions
from recsys.errors import ModelError
from recsys.models import artifacts
from recsys.models.base import Model
from recsys.models.registry import MODEL_NAMES
from tests.conformance.assertions import (
    assert_same_model,
)
from tests.conformance.models import (
    class_of,
    every_model,
)

Fitted = Callable[[str, Interactions], Model]


@every_model
def test_a_loaded_model_says_the_same(name: str, fitted: Fitted, shop: Interactions, tmp_path: Path):
    model = fitted(name, shop)
    model.save(tmp_path)
    loaded = class_of(name).load(tmp_path)
    assert_same_model(loaded, model, shop)
    assert vars(loaded)["config"] == vars(model)["config"]


@every_model
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "rubbish"])
def test_a_damaged_file_is_an_error(name: str, fitted: Fitted, damage: str, shop: Interactions, tmp_path: Path):
    fitted(name, shop).save(tmp_path)
    path = tmp_path / artifacts.FILE
    content = path.read_bytes()
    path.write_bytes({"truncated": content[:-7], "rubbish": b"\x07" * 400}.get(damage, b""))
    if damage == "missing":
        path.unlink()
    with pytest.raises(ModelError, match=artifacts.FILE) as raised:
        class_of(name).load(tmp_path)
    assert "\n" not in str(raised.value)


@every_model
def test_another_models_file_is_an_error(name: str, fitted: Fitted, shop: Interactions, tmp_path: Path):
    other = next(other for other in MODEL_NAMES if other != name)
    fitted(other, shop).save(tmp_path)
    with pytest.raises(ModelError, match=f"holds model {other} in format 1; expected {name}"):
        class_of(name).load(tmp_path)


@every_model
def test_another_formats_file_is_an_error(
    name: str, fitted: Fitted, shop: Interactions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(artifacts, "FORMAT", "0")
    fitted(name, shop).save(tmp_path)
    monkeypatch.undo()
    with pytest.raises(ModelError, match=f"holds model {name} in format 0; expected {name} in 1"):
        class_of(name).load(tmp_path)
