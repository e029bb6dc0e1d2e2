"""A classifier of items by their vectors and their place in the graph, with calibrated probabilities.

Imported only when it is used: torch is an optional dependency.
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
from recsys.models.categories.label_propagation import LabelPropagation

Table = NDArray[np.float32]

MIN_ITEMS: Final = 20  # for training, and for calibration
PATIENCE: Final = 3  # epochs without a lower loss on the calibration items after which training stops
MIN_STEPS: Final = 20  # of an epoch: few items are split into small batches
# Weight of the overall class shares in those of propagated labels, so that every logarithm is finite.
SMOOTHING: Final = 0.02
MAX_LOG_TEMPERATURE: Final = 3.0  # and the negative of the minimum
BLOCK_ITEMS: Final = 4_096


@dataclass(frozen=True)
class CategoryClassifierConfig:
    """Size of the network and its training."""

    hidden: int = 256
    """Number of units of the hidden layer."""
    dropout: float = 0.3
    """Share of the hidden units that each step drops."""
    epochs: int = 20
    """Maximum number of epochs; the one with the lowest loss on the calibration items is kept."""
    batch_size: int = 512
    """Number of items of a training step."""
    learning_rate: float = 0.003
    """Initial step size of Adam; it decays linearly to a hundredth."""
    items: int = 100_000
    """Maximum number of training items, sampled at random; the labels of all items are propagated."""
    seed: int = 0
    """Seed of all randomness."""


class CategoryClassifier:
    """A network with one hidden layer, with temperature scaling, over features of items as nodes of the graph.

    Its standardized input is the item's vector; the logarithm of its number of users; and, for each class, the
    logarithm of the class's share in the labels of two-hop neighbors (`LabelPropagation`, without the item's own
    label) over its share in all labels. The loss is the cross entropy. The probabilities are softmax(logits / T),
    where the temperature T minimizes the loss on items that were not used for training. Source: Guo, Pleiss, Sun,
    Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017).
    """

    temperature: float

    def __init__(self, config: CategoryClassifierConfig = CategoryClassifierConfig()) -> None:
        self.config = config

    def fit(self, vectors: Table, positives: csr_matrix, labels: Rows, calibration: Rows) -> Self:
        """Train on `labels` (items,), then calibrate on the labels `calibration` (items,) of other items.

        Both are `UNKNOWN` for items without a label. `vectors` is items x d, `positives` users x items. Raises
        `NotEnoughDataError` for fewer than two classes or too few items, `ModelError` when the loss is not finite.
        """
        labeled, held_out = (np.flatnonzero(part != UNKNOWN).astype(np.int32) for part in (labels, calibration))
        classes = int(max(labels.max(), calibration.max())) + 1
        counts = np.bincount(labels[labeled], minlength=classes)
        if min(len(labeled), len(held_out)) < MIN_ITEMS or np.count_nonzero(counts) < 2:
            raise NotEnoughDataError(
                f"categories: {len(labeled)} items of {np.count_nonzero(counts)} categories to learn from and "
                f"{len(held_out)} to calibrate on; expected at least {MIN_ITEMS} of each, and 2 categories"
            )
        if np.any(labels[held_out] != UNKNOWN):
            raise ValueError("calibration items are among the training items")
        self._vectors = vectors
        self._log_size = np.log1p(np.bincount(positives.indices, minlength=len(labels))).astype(np.float32)
        self._propagation = LabelPropagation.build(positives, labels, classes)
        self._shares = (counts / counts.sum()).astype(np.float32)
        generator = np.random.default_rng(self.config.seed)
        sampled = np.sort(generator.permutation(labeled)[: self.config.items])
        features = self._features(sampled)
        self._mean, self._scale = features.mean(axis=0), features.std(axis=0) + np.float32(1e-6)
        inputs = torch.from_numpy((features - self._mean) / self._scale)
        targets = torch.from_numpy(labels[sampled].astype(np.int64))
        truth = calibration[held_out]
        with _reproducible(self.config.seed):
            self._train(inputs, targets, held_out, truth, generator)
        self.temperature = fit_temperature(self.logits(held_out), truth)
        return self

    def logits(self, item_rows: Rows) -> Table:
        """Compute the output of the network before calibration, (len(item_rows), classes)."""
        self._network.eval()
        logits = np.empty((len(item_rows), len(self._shares)), np.float32)
        with torch.no_grad():
            for start in range(0, len(item_rows), BLOCK_ITEMS):
                block = slice(start, start + BLOCK_ITEMS)
                inputs = (self._features(item_rows[block]) - self._mean) / self._scale
                logits[block] = self._network(torch.from_numpy(inputs)).numpy()
        return logits

    def probabilities(self, item_rows: Rows) -> Table:
        """Compute calibrated probabilities, (len(item_rows), classes); rows sum to 1."""
        return softmax(self.logits(item_rows) / np.float32(self.temperature))

    def _features(self, item_rows: Rows) -> Table:
        """Compute the input before standardization, (len(item_rows), d + 1 + classes)."""
        log_lift = np.log(
            (self._propagation.shares(item_rows) + SMOOTHING * self._shares + 1e-9) / (self._shares + 1e-9)
        )
        return np.hstack([self._vectors[item_rows], self._log_size[item_rows, None], log_lift]).astype(np.float32)

    def _train(
        self,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        held_out: Rows,
        truth: Rows,
        generator: np.random.Generator,
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
        decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.01, config.epochs * -(-items // size))
        best, best_state, stale_epochs = np.inf, deepcopy(self._network.state_dict()), 0
        for _ in range(config.epochs):
            self._network.train()
            for batch in torch.from_numpy(generator.permutation(items)).split(size):
                loss = nn.functional.cross_entropy(self._network(inputs[batch]), targets[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                decay.step()
            value = cross_entropy(self.logits(held_out), truth)
            if not np.isfinite(value):
                raise ModelError("categories: the loss is not finite; check that the item vectors are")
            stale_epochs += 1
            if value < best:
                best, best_state, stale_epochs = value, deepcopy(self._network.state_dict()), 0
            if stale_epochs == PATIENCE:
                break
        self._network.load_state_dict(best_state)


def fit_temperature(logits: Table, truth: Rows) -> float:
    """Find the temperature above 0 that minimizes the cross entropy of softmax(logits / temperature)."""

    def loss(log_temperature: float) -> float:
        return cross_entropy(logits / np.float32(np.exp(log_temperature)), truth)

    bounds = (-MAX_LOG_TEMPERATURE, MAX_LOG_TEMPERATURE)
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def cross_entropy(logits: Table, truth: Rows) -> float:
    """Compute the mean of -log softmax(logits)[truth]."""
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(exact).sum(axis=1)) - exact[np.arange(len(truth)), truth]))


def softmax(logits: Table) -> Table:
    """Compute the probabilities of the rows of `logits`."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@contextmanager
def _reproducible(seed: int) -> Generator[None]:
    """Seed torch, on one thread: on matrices this small more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
