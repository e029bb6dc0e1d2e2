"""Models as the settings configure them."""

import pytest

from jobs.pipeline.models import check_models
from recsys.errors import SettingsError
from recsys.settings import Settings


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (Settings(models=("nope",)), "there is no model 'nope'; expected one of popularity, "),
        (Settings(models=("ease",), model_settings={"ease": {"foo": 1}}), "model_settings.ease: foo = 1: "),
        (Settings(models=("ease",), model_settings={"eese": {}}), "there is no model 'eese'; expected one of "),
    ],
)
def test_wrong_models_are_found_before_any_fit(settings: Settings, problem: str) -> None:
    with pytest.raises(SettingsError) as error:
        check_models(settings.models, settings)
    assert str(error.value).startswith(problem)
