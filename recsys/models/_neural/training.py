"""Training loop of neural models: device, processes under torchrun, early stopping, checkpoints.

Imported only when a neural model is fitted: torch is an optional dependency.
"""

# torch and torch-geometric do not type all of their signatures.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

import json
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from recsys.errors import ModelError
from recsys.files import atomic_write
from recsys.models.artifacts import not_finite_error
from recsys.models.base import TrainingOptions
from recsys.settings.types import Device

STATE = "state"
# Horizon of the exponential average of weights. The average is validated and kept: it is nearer the optimum than
# any step, as with a decayed learning rate.
AVERAGED_STEPS = 200
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Workers:
    """The group of processes that train one model, as this one sees it."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is the process that validates and writes."""
        return self.rank == 0


@dataclass(frozen=True)
class Schedule:
    """Length and step size of training."""

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    patience: int
    """Number of epochs without a better validation value after which training stops."""


@dataclass
class History:
    """Losses and validation values of the epochs so far."""

    losses: list[float] = field(default_factory=list[float])
    """Mean loss of each epoch."""
    values: list[float] = field(default_factory=list[float])
    """Validation value after each epoch; higher is better."""

    @property
    def best(self) -> int:
        """The epoch, from 0, of the best value; the last epoch without validation."""
        return max(range(len(self.values)), key=self.values.__getitem__, default=len(self.losses) - 1)

    def has_converged(self, patience: int) -> bool:
        """Return whether the last `patience` epochs brought no better value."""
        return len(self.values) - 1 - self.best >= patience if self.values else False


class LossModule(Protocol):
    """A module whose call computes the mean loss of a batch."""

    def __call__(self, places: Tensor, generator: torch.Generator) -> Tensor:
        """Compute the mean loss of the training examples at `places`; the CPU generator is for negatives."""
        ...


@contextmanager
def join_workers(device: Device) -> Generator[Workers]:
    """Join the process group that torchrun describes (NCCL on CUDA, gloo elsewhere), or run alone without one."""
    cuda = device != "cpu" and torch.cuda.is_available()
    if "WORLD_SIZE" not in os.environ:
        yield Workers(0, 1, torch.device("cuda" if cuda else "cpu"))
        return
    own_device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if cuda else "cpu")
    joined = not torch.distributed.is_initialized()
    if joined:
        torch.distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Workers(torch.distributed.get_rank(), torch.distributed.get_world_size(), own_device)
    finally:
        if joined:
            torch.distributed.destroy_process_group()


def train(
    module: nn.Module,
    examples: int,
    validate: Callable[[], float] | None,
    schedule: Schedule,
    options: TrainingOptions,
    workers: Workers,
    name: str,
) -> History:
    """Train a `LossModule` by Adam until `validate` has not risen for `patience` epochs, and keep the best weights.

    Weights are averages over steps (Polyak, Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM
    Journal on Control and Optimization 1992), here with a horizon. Every process takes its share of each batch and
    all step together, so that several processes give the result of one, up to the order of sums. Raises
    `ModelError` for a loss that is not finite, and when the time limit ends before the first epoch does.
    """
    state = _initialize(module, schedule, options.checkpoint, workers)
    history = state.history
    compute_loss: Any = DistributedDataParallel(module, broadcast_buffers=False) if workers.size > 1 else module
    is_late = partial(_is_late, time.monotonic(), options.seconds, workers)
    for epoch in range(len(history.losses), schedule.epochs):
        if history.has_converged(schedule.patience):
            break
        loss = _train_epoch(compute_loss, state, examples, epoch, schedule, workers, is_late)
        if loss is None:
            break
        if not loss < float("inf"):
            raise not_finite_error(name, "a loss")
        history.losses.append(loss)
        if validate is not None:
            history.values.append(
                _broadcast_first(_validate_average(validate, state) if workers.is_first else 0.0, workers)
            )
        if history.best == epoch:
            state.best = deepcopy(state.average)
        if options.checkpoint is not None and workers.is_first:
            _write_checkpoint(options.checkpoint, state, schedule)
        options.on_epoch(epoch + 1, schedule.epochs)
    if not history.losses:
        raise ModelError(f"{name}: no epoch finished within {options.seconds:.0f} seconds")
    module.load_state_dict(state.best)
    return history


def _train_epoch(
    compute_loss: LossModule,
    state: "_State",
    examples: int,
    epoch: int,
    schedule: Schedule,
    workers: Workers,
    is_late: Callable[[], bool],
) -> float | None:
    """Pass over the examples in random order; return the mean loss, or None when the time limit came first."""
    generator = torch.Generator().manual_seed(schedule.seed * 1_000_003 + epoch)
    total = torch.zeros((), device=workers.device)
    batches = torch.randperm(examples, generator=generator).split(schedule.batch_size)
    for number, batch in enumerate(batches, epoch * len(batches)):
        if is_late():
            return None
        # At least one example for each process, so that none waits for another.
        share = batch[torch.arange(workers.rank, max(len(batch), workers.size), workers.size) % len(batch)]
        state.optimizer.zero_grad()
        loss = compute_loss(share, generator)
        loss.backward()
        state.optimizer.step()
        for key, tensor in state.module.state_dict().items():
            state.average[key].lerp_(tensor, 1 / min(number + 1, AVERAGED_STEPS))
        total += loss.detach()
    if workers.size > 1:
        torch.distributed.all_reduce(total)
    return float(total) / (len(batches) * workers.size)


def _validate_average(validate: Callable[[], float], state: "_State") -> float:
    """Validate the averaged weights."""
    current = deepcopy(state.module.state_dict())
    state.module.load_state_dict(state.average)
    value = validate()
    state.module.load_state_dict(current)
    return value


def _is_late(started: float, seconds: float | None, workers: Workers) -> bool:
    return seconds is not None and bool(_broadcast_first(float(time.monotonic() - started > seconds), workers))


def _broadcast_first(value: float, workers: Workers) -> float:
    """Return the value of the first process, to all."""
    if workers.size == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=workers.device)
    torch.distributed.broadcast(shared, 0)
    return float(shared)


@dataclass
class _State:
    """The state of training, as a checkpoint holds it."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    average: Tensors
    best: Tensors
    history: History


def _initialize(module: nn.Module, schedule: Schedule, checkpoint: Path | None, workers: Workers) -> _State:
    """Initialize the state, or read it from a checkpoint of the same schedule."""
    optimizer = torch.optim.Adam(module.parameters(), schedule.learning_rate)
    if checkpoint is None or not checkpoint.exists():
        return _State(module, optimizer, deepcopy(module.state_dict()), deepcopy(module.state_dict()), History())
    with safe_open(checkpoint, framework="numpy") as file:
        header = json.loads((file.metadata() or {})[STATE])
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (the file is not iterable)
    tensors = {key: torch.tensor(array, device=workers.device) for key, array in arrays.items()}
    if header["plan"] != asdict(schedule):
        raise ModelError(f"{checkpoint}: was written with other settings; remove it to start over")
    module.load_state_dict(_select_prefix("module.", tensors))
    moments: dict[int, Tensors] = {}
    for key, tensor in _select_prefix("optimizer.", tensors).items():
        number, _, entry = key.partition(".")
        moments.setdefault(int(number), {})[entry] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    average, best = _select_prefix("average.", tensors), _select_prefix("best.", tensors)
    return _State(module, optimizer, average, best, History(**header["history"]))


def _write_checkpoint(path: Path, state: _State, schedule: Schedule) -> None:
    """Write the state for `_initialize`."""
    parts = {"module": state.module.state_dict(), "average": state.average, "best": state.best}
    tensors = {f"{part}.{key}": tensor for part, state_dict in parts.items() for key, tensor in state_dict.items()}
    for number, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{key}": torch.as_tensor(value) for key, value in moments.items()}
    arrays = {key: tensor.detach().cpu().numpy() for key, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        save_file(
            arrays, temporary, {STATE: json.dumps({"history": asdict(state.history), "plan": asdict(schedule)})}
        )


def _select_prefix(prefix: str, tensors: Tensors) -> Tensors:
    """Select the tensors whose name starts with `prefix`, and remove it."""
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
