"""Training goes on from a checkpoint, and ends when it no longer gets better."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from recsys.errors import ModelError
from recsys.models._neural import training
from recsys.models._neural.training import History, Schedule, Workers, train
from recsys.models.base import TrainingOptions

PLAN = Schedule(epochs=6, batch_size=8, learning_rate=0.05, seed=1, patience=3)
ALONE = Workers(0, 1, torch.device("cpu"))


class Line(nn.Module):
    """Learns the slope of a line through the origin from 32 points, noise drawn as negatives are."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(1))

    def forward(self, places: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared error."""
        points = places / 32
        noise = torch.randn(1, generator=generator) / 100
        return (points * self.slope - 3 * points + noise).square().mean()


def trained(
    training: TrainingOptions, plan: Schedule = PLAN, values: list[float] | None = None
) -> tuple[Line, History]:
    module = Line()
    left = iter(values or [])
    validate = (lambda: next(left)) if values else None
    return module, train(module, 32, validate, plan, training, ALONE, "line")


def test_a_stopped_training_goes_on_as_if_it_had_never_stopped(tmp_path: Path):
    whole, history = trained(TrainingOptions())
    file = tmp_path / "state" / "line.safetensors"

    class KilledError(Exception):
        pass

    def kill(done: int, _epochs: int) -> None:
        if done == 3:
            raise KilledError

    with pytest.raises(KilledError):
        trained(TrainingOptions(checkpoint=file, on_epoch=kill))
    seen: list[int] = []
    resumed, history_of_both = trained(TrainingOptions(checkpoint=file, on_epoch=lambda done, _: seen.append(done)))
    assert seen == [4, 5, 6]
    assert resumed.slope.item() == whole.slope.item()
    assert history_of_both.losses == history.losses


def test_a_checkpoint_of_other_settings_is_not_gone_on_from(tmp_path: Path):
    file = tmp_path / "line.safetensors"
    trained(TrainingOptions(checkpoint=file))
    with pytest.raises(ModelError, match="was written with other settings"):
        trained(TrainingOptions(checkpoint=file), replace(PLAN, learning_rate=0.1))


def test_training_ends_after_epochs_without_a_better_value_and_keeps_the_best():
    best, _ = trained(TrainingOptions(), replace(PLAN, epochs=2))
    module, history = trained(TrainingOptions(), replace(PLAN, epochs=50), [0.1, 0.4, 0.3, 0.2, 0.35, 0.9, 0.9])
    assert history.values == [0.1, 0.4, 0.3, 0.2, 0.35]
    assert history.best == 1
    assert module.slope.item() == best.slope.item()


def test_an_epoch_that_is_not_whole_in_time_does_not_count(monkeypatch: pytest.MonkeyPatch):
    one, _ = trained(TrainingOptions(), replace(PLAN, epochs=1))
    ticks = iter(range(100))
    monkeypatch.setattr(training.time, "monotonic", lambda: float(next(ticks)))
    module, history = trained(TrainingOptions(seconds=6.0))  # of four steps to an epoch, the seventh is too late
    assert len(history.losses) == 1
    assert module.slope.item() == one.slope.item()


def test_no_epoch_in_time_is_an_error():
    with pytest.raises(ModelError, match="line: no epoch finished within -1 seconds"):
        trained(TrainingOptions(seconds=-1.0))


def test_weights_are_averaged_over_steps(monkeypatch: pytest.MonkeyPatch):
    averaged, _ = trained(TrainingOptions())
    monkeypatch.setattr(training, "AVERAGED_STEPS", 1)
    last, _ = trained(TrainingOptions())
    assert 0 < averaged.slope.item() < last.slope.item() < 3.3
