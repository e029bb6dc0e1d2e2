"""Classes of items from their vectors and their place in the graph, with calibrated probabilities.

Imported only where it is used: torch is no dependency of the batch half.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Generator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_matrix
from torch import nn

from recsys.errors import ModelError, NotEnoughDataError
from recsys.ids import UNKNOWN, Rows
from recsys.models.categories.label_propagation import LabelHops

Table = NDArray[np.float32]

MIN_ITEMS: Final = 20  # to learn from, and to calibrate on
PATIENCE: Final = 3  # epochs without a gain on the calibration items, after which the fit ends
MIN_STEPS: Final = 20  # of an epoch: few items come in small batches
# How much of the labels' overall shares is mixed into those that reach an item, so that no logarithm is of 0.
SMOOTHING: Final = 0.02
LONGEST_TEMPERATURE: Final = 3.0  # as its logarithm, and the shortest
BLOCK: Final = 4_096


@dataclass(frozen=True)
class CategoryClassifierConfig:
    """Size and length of the fit."""

    hidden: int = 256
    """Units of the hidden layer."""
    dropout: float = 0.3
    """Share of the hidden units that each step leaves out."""
    epochs: int = 20
    """Most passes over the items; the one with the least loss on the calibration items is kept."""
    batch_size: int = 512
    """Items of one step."""
    learning_rate: float = 0.003
    """Step size of Adam at the start; it falls to a hundredth."""
    items: int = 100_000
    """Most items that the network learns from, drawn at random; the labels of all spread over the graph."""
    seed: int = 0
    """Where all randomness starts."""


class CategoryClassifier:
    """A network with one hidden layer over what is known of an item as a node of the graph of users and items.

    Its input: the item's vector, standardised; the logarithm of how many users want the item; and, for each class,
    the logarithm of its share among the labels that reach the item in two hops over its share among all labels
    (`LabelHops`, an item's own label left out). The loss is the cross entropy. The probabilities are
    softmax(logits / T), where the temperature T makes the loss on items that the network did not learn from the
    least: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017).
    """

    temperature: float

    def __init__(self, config: CategoryClassifierConfig = CategoryClassifierConfig()) -> None:
        self.config = config

    def fit(self, vectors: Table, wanted: csr_matrix, labels: Rows, calibration: Rows) -> Self:
        """Learn from `labels` (items,), then calibrate on the labels `calibration` of other items.

        Both are `UNKNOWN` where there is none. `vectors` is items x d, `wanted` users x items. Raises
        `NotEnoughDataError` for fewer than two classes or too few items, `ModelError` when the loss is not finite.
        """
        known, held = (np.flatnonzero(part != UNKNOWN).astype(np.int32) for part in (labels, calibration))
        classes = int(max(labels.max(), calibration.max())) + 1
        counts = np.bincount(labels[known], minlength=classes)
        if min(len(known), len(held)) < MIN_ITEMS or np.count_nonzero(counts) < 2:
            raise NotEnoughDataError(
                f"categories: {len(known)} items of {np.count_nonzero(counts)} categories to learn from and "
                f"{len(held)} to calibrate on; expected at least {MIN_ITEMS} of each, and 2 categories"
            )
        if np.any(labels[held] != UNKNOWN):
            raise ValueError("items to calibrate on are among those to learn from")
        self._vectors = vectors
        self._log_size = np.log1p(np.bincount(wanted.indices, minlength=len(labels))).astype(np.float32)
        self._hops = LabelHops.of(wanted, labels, classes)
        self._shares = (counts / counts.sum()).astype(np.float32)
        generator = np.random.default_rng(self.config.seed)
        drawn = np.sort(generator.permutation(known)[: self.config.items])
        raw = self._raw(drawn)
        self._mean, self._scale = raw.mean(axis=0), raw.std(axis=0) + np.float32(1e-6)
        inputs = torch.from_numpy((raw - self._mean) / self._scale)
        targets = torch.from_numpy(labels[drawn].astype(np.int64))
        truth = calibration[held]
        with _reproducible(self.config.seed):
            self._train(inputs, targets, held, truth, generator)
        self.temperature = fit_temperature(self.logits(held), truth)
        return self

    def logits(self, item_rows: Rows) -> Table:
        """The network's answers before any calibration, (len(item_rows), classes)."""
        self._network.eval()
        found = np.empty((len(item_rows), len(self._shares)), np.float32)
        with torch.no_grad():
            for start in range(0, len(item_rows), BLOCK):
                block = slice(start, start + BLOCK)
                inputs = (self._raw(item_rows[block]) - self._mean) / self._scale
                found[block] = self._network(torch.from_numpy(inputs)).numpy()
        return found

    def probabilities(self, item_rows: Rows) -> Table:
        """Calibrated probabilities, (len(item_rows), classes); a row adds up to 1."""
        return softmax(self.logits(item_rows) / np.float32(self.temperature))

    def _raw(self, item_rows: Rows) -> Table:
        """What is known of the items, not yet standardised, (len(item_rows), d + 1 + classes)."""
        reached = np.log((self._hops.shares(item_rows) + SMOOTHING * self._shares + 1e-9) / (self._shares + 1e-9))
        return np.hstack([self._vectors[item_rows], self._log_size[item_rows, None], reached]).astype(np.float32)

    def _train(
        self, inputs: torch.Tensor, targets: torch.Tensor, held: Rows, truth: Rows, generator: np.random.Generator
    ) -> None:
        config = self.config
        items, width = inputs.shape
        self._network = nn.Sequential(
            nn.Linear(width, config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, len(self._shares)),
        )
        size = min(config.batch_size, -(-items // MIN_STEPS))
        optimizer = torch.optim.Adam(self._network.parameters(), config.learning_rate)
        slower = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.01, config.epochs * -(-items // size))
        best, kept, since = np.inf, deepcopy(self._network.state_dict()), 0
        for _ in range(config.epochs):
            self._network.train()
            for batch in torch.from_numpy(generator.permutation(items)).split(size):
                loss = nn.functional.cross_entropy(self._network(inputs[batch]), targets[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                slower.step()
            measured = cross_entropy(self.logits(held), truth)
            if not np.isfinite(measured):
                raise ModelError("categories: the loss is not finite; are the vectors of items?")
            since += 1
            if measured < best:
                best, kept, since = measured, deepcopy(self._network.state_dict()), 0
            if since == PATIENCE:
                break
        self._network.load_state_dict(kept)


def fit_temperature(logits: Table, truth: Rows) -> float:
    """The temperature above 0 that makes the cross entropy of softmax(logits / temperature) the least."""

    def loss(log_temperature: float) -> float:
        return cross_entropy(logits / np.float32(np.exp(log_temperature)), truth)

    bounds = (-LONGEST_TEMPERATURE, LONGEST_TEMPERATURE)
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def cross_entropy(logits: Table, truth: Rows) -> float:
    """The mean of -log softmax(logits)[truth]."""
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(exact).sum(axis=1)) - exact[np.arange(len(truth)), truth]))


def softmax(logits: Table) -> Table:
    """Probabilities of the rows of `logits`."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@contextmanager
def _reproducible(seed: int) -> Generator[None]:
    """Torch's randomness from `seed`, on one thread: for matrices this small more only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
