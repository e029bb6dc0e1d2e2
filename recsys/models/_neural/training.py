"""Training of neural models: device, processes under torchrun, early stopping, checkpoints; the same for all.

Imported only where a neural model is fitted: torch is no dependency of the batch half.
"""

# torch and torch-geometric leave parts of their signatures without a type.
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
from recsys.models._neural.long_fit import Training
from recsys.models.artifacts import not_finite
from recsys.settings.types import Device

STATE = "state"
# Weights are averaged over about so many of the last steps, exponentially: what is validated and kept is the
# average, which is nearer the optimum than any step, as if the learning rate had been lowered.
AVERAGED_STEPS = 200
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Workers:
    """This process among those that train one model together."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the one that validates and writes."""
        return self.rank == 0


@dataclass(frozen=True)
class Plan:
    """How long and how fast."""

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    patience: int
    """Epochs without a better validation value after which training ends."""


@dataclass
class History:
    """What training has come to."""

    losses: list[float] = field(default_factory=list[float])
    """Mean loss of each epoch."""
    values: list[float] = field(default_factory=list[float])
    """Validation value after each epoch, the more the better."""

    @property
    def best(self) -> int:
        """The epoch, from 0, of the best value; the last one where nothing is validated."""
        return max(range(len(self.values)), key=self.values.__getitem__, default=len(self.losses) - 1)

    def stands_still(self, patience: int) -> bool:
        """Whether so many epochs brought no better value."""
        return len(self.values) - 1 - self.best >= patience if self.values else False


class Trained(Protocol):
    """A module whose call gives the mean loss of a batch."""

    def __call__(self, places: Tensor, generator: torch.Generator) -> Tensor:
        """The mean loss of the training examples at `places`; the generator is for negatives, on the CPU."""
        ...


@contextmanager
def workers(device: Device) -> Generator[Workers]:
    """This process's place: alone, or in the group that torchrun describes (NCCL on CUDA, gloo elsewhere)."""
    cuda = device != "cpu" and torch.cuda.is_available()
    if "WORLD_SIZE" not in os.environ:
        yield Workers(0, 1, torch.device("cuda" if cuda else "cpu"))
        return
    place = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if cuda else "cpu")
    joined = not torch.distributed.is_initialized()
    if joined:
        torch.distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Workers(torch.distributed.get_rank(), torch.distributed.get_world_size(), place)
    finally:
        if joined:
            torch.distributed.destroy_process_group()


def train(
    module: nn.Module,
    examples: int,
    validate: Callable[[], float] | None,
    plan: Plan,
    training: Training,
    among: Workers,
    name: str,
) -> History:
    """Train by Adam until the value of `validate` has not risen for `patience` epochs; the best weights stay.

    Weights are averages over steps (Polyak, Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM
    Journal on Control and Optimization 1992), here with a horizon. `module` is called as `Trained` says. Every
    process takes its share of each batch and all step together, so that several give what one gives, but for the
    order of sums. Raises `ModelError` for a loss that is not finite, or when the time was over before an epoch was.
    """
    state = _begin(module, plan, training.checkpoint, among)
    history = state.history
    loss_of: Any = DistributedDataParallel(module, broadcast_buffers=False) if among.size > 1 else module
    late = partial(_is_late, time.monotonic(), training.seconds, among)
    for epoch in range(len(history.losses), plan.epochs):
        if history.stands_still(plan.patience):
            break
        loss = _epoch(loss_of, state, examples, epoch, plan, among, late)
        if loss is None:
            break
        if not loss < float("inf"):
            raise not_finite(name, "a loss")
        history.losses.append(loss)
        if validate is not None:
            history.values.append(_from_first(_value(validate, state) if among.first else 0.0, among))
        if history.best == epoch:
            state.best = deepcopy(state.average)
        if training.checkpoint is not None and among.first:
            _write(training.checkpoint, state, plan)
        training.on_epoch(epoch + 1, plan.epochs)
    if not history.losses:
        raise ModelError(f"{name}: not one epoch was done in {training.seconds:.0f} seconds")
    module.load_state_dict(state.best)
    return history


def _epoch(
    loss_of: Any, state: "_State", examples: int, epoch: int, plan: Plan, among: Workers, late: Callable[[], bool]
) -> float | None:
    """One pass over the examples in an order of its own; the mean loss, None where it was `late` before the end."""
    generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + epoch)
    total = torch.zeros((), device=among.device)
    batches = torch.randperm(examples, generator=generator).split(plan.batch_size)
    for number, batch in enumerate(batches, epoch * len(batches)):
        if late():
            return None
        # A share of at least one example, so that no process waits for another.
        share = batch[torch.arange(among.rank, max(len(batch), among.size), among.size) % len(batch)]
        state.optimizer.zero_grad()
        loss = loss_of(share, generator)
        loss.backward()
        state.optimizer.step()
        for key, tensor in state.module.state_dict().items():
            state.average[key].lerp_(tensor, 1 / min(number + 1, AVERAGED_STEPS))
        total += loss.detach()
    if among.size > 1:
        torch.distributed.all_reduce(total)
    return float(total) / (len(batches) * among.size)


def _value(validate: Callable[[], float], state: "_State") -> float:
    """What the averaged weights are worth."""
    current = deepcopy(state.module.state_dict())
    state.module.load_state_dict(state.average)
    value = validate()
    state.module.load_state_dict(current)
    return value


def _is_late(started: float, seconds: float | None, among: Workers) -> bool:
    return seconds is not None and bool(_from_first(float(time.monotonic() - started > seconds), among))


def _from_first(value: float, among: Workers) -> float:
    """The value that the first process has."""
    if among.size == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=among.device)
    torch.distributed.broadcast(shared, 0)
    return float(shared)


@dataclass
class _State:
    """All that changes while a module is trained."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    average: Tensors
    best: Tensors
    history: History


def _begin(module: nn.Module, plan: Plan, checkpoint: Path | None, among: Workers) -> _State:
    """The start, or where a checkpoint of the same plan left off."""
    optimizer = torch.optim.Adam(module.parameters(), plan.learning_rate)
    if checkpoint is None or not checkpoint.exists():
        return _State(module, optimizer, deepcopy(module.state_dict()), deepcopy(module.state_dict()), History())
    with safe_open(checkpoint, framework="numpy") as file:
        described = json.loads((file.metadata() or {})[STATE])
        tensors = {key: torch.tensor(file.get_tensor(key), device=among.device) for key in file.keys()}  # noqa: SIM118
    if described["plan"] != asdict(plan):
        raise ModelError(f"{checkpoint}: was written with other settings; remove it to start anew")
    module.load_state_dict(_under("module.", tensors))
    moments: dict[int, Tensors] = {}
    for key, tensor in _under("optimizer.", tensors).items():
        number, _, entry = key.partition(".")
        moments.setdefault(int(number), {})[entry] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    average, best = _under("average.", tensors), _under("best.", tensors)
    return _State(module, optimizer, average, best, History(**described["history"]))


def _write(path: Path, state: _State, plan: Plan) -> None:
    """Keep the state, so that `_begin` finds it."""
    parts = {"module": state.module.state_dict(), "average": state.average, "best": state.best}
    tensors = {f"{part}.{key}": tensor for part, of_part in parts.items() for key, tensor in of_part.items()}
    for number, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{key}": torch.as_tensor(value) for key, value in moments.items()}
    arrays = {key: tensor.detach().cpu().numpy() for key, tensor in tensors.items()}
    with atomic_write(path) as aside:
        save_file(arrays, aside, {STATE: json.dumps({"history": asdict(state.history), "plan": asdict(plan)})})


def _under(prefix: str, tensors: Tensors) -> Tensors:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
