"""LightGCN: hops and losses worked out by hand, gradients by autograd, what is held out, errors."""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from recsys.data.scaling import normalize_by_degree
from recsys.errors import ModelError
from recsys.models._graph import light_gcn_training
from recsys.models._graph.light_gcn_training import (
    LightGcnModule,
    bpr_loss,
    hold_out,
    initial_vectors,
    softmax_loss,
    validation_ndcg,
)
from recsys.models.light_gcn import LightGcn, LightGcnConfig
from tests.conformance.expectations import Expectations

CONFORMANCE = Expectations(
    settings={"embedding_size": 8, "negatives": 16, "batch_size": 64, "learning_rate": 0.05, "epochs": 12}
)

Shop = Callable[..., Any]
EVENTS = [(f"u{user:02}", f"i{item:02}", 1.0, 1.0) for user in range(40) for item in range(user % 3, 30, 3)]


def small(**values: Any) -> LightGcnConfig:
    config = {"embedding_size": 8, "negatives": 16, "batch_size": 64, "learning_rate": 0.05, "epochs": 8, "seed": 2}
    return LightGcnConfig(**(config | values))


def module_of(positives: list[list[int]], config: LightGcnConfig) -> LightGcnModule:
    examples = hold_out(csr_matrix(np.array(positives, np.float32)), 0)
    return LightGcnModule(examples, config, torch.device("cpu"))


def test_vectors_are_averaged_over_hops_worked_out_by_hand():
    # User 0 has both items, user 1 the second: edges weigh 1/sqrt(2 x 1), 1/sqrt(2 x 2), 1/sqrt(1 x 2).
    module = module_of([[1, 1], [0, 1]], small(embedding_size=1, layers=1))
    with torch.no_grad():
        module.nodes.copy_(torch.tensor([[1.0], [2.0], [3.0], [5.0]]))
        spread = module.convolve().flatten().tolist()
    root = 0.5**0.5
    expected = [(1 + 3 * root + 5 / 2) / 2, (2 + 5 * root) / 2, (3 + root) / 2, (5 + 1 / 2 + 2 * root) / 2]
    assert spread == pytest.approx(expected, rel=1e-6)


def test_the_gradient_of_a_hop_is_that_of_the_dense_product():
    module = module_of([[1, 1, 0], [0, 1, 1], [1, 0, 1]], small(layers=3))
    weights = torch.arange(48, dtype=torch.float32).reshape(6, 8) / 10
    (module.convolve() * weights).sum().backward()
    dense = module.adjacency.to_dense()
    hops = torch.eye(6) + dense + dense @ dense + dense @ dense @ dense
    assert module.nodes.grad is not None
    torch.testing.assert_close(module.nodes.grad, hops.T @ weights / 4)


def test_losses_worked_out_by_hand():
    users = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    items = torch.tensor([[2.0, 1.0], [1.0, 1.0]])
    negatives = torch.tensor([[0.0, 0.0], [1.0, -1.0], [1.0, 0.5]])
    # Scores of the items 2, 2; of the negatives 0, 1, 1 and 0, -2, 1.
    first = np.log(np.exp(2) + 1 + np.e + np.e) - 2
    second = np.log(np.exp(2) + 1 + np.exp(-2) + np.e) - 2
    assert softmax_loss(users, items, negatives).item() == pytest.approx((first + second) / 2, rel=1e-6)
    # Against the negatives of their own place: 2 - 0 and 2 - -2.
    expected = (np.log1p(np.exp(-2)) + np.log1p(np.exp(-4))) / 2
    assert bpr_loss(users, items, negatives[:2]).item() == pytest.approx(expected, rel=1e-6)


def test_a_fifth_of_the_items_of_some_users_is_held_out(shop_of: Shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(light_gcn_training, "HELD_OUT_SHARE", 0.1)
    positives = shop_of(EVENTS).positives  # ten items each
    examples = hold_out(positives, seed=4)
    users, places = examples.held_out_items.nonzero()
    held = set(zip(examples.held_out_users[users].tolist(), places.tolist(), strict=True))
    learned = set(zip(examples.users.tolist(), examples.items.tolist(), strict=True))
    assert len(held) == examples.held_out_items.nnz == int(0.1 * positives.nnz)
    assert np.diff(examples.held_out_items.indptr).tolist() == [2] * 20
    assert not held & learned
    assert held | learned == set(zip(*(rows.tolist() for rows in positives.nonzero()), strict=True))
    assert examples.user_items.nnz == len(learned)


def test_the_validated_ndcg_worked_out_by_hand(monkeypatch: pytest.MonkeyPatch):
    # User 0 has item 0; of the others, the held-out items 1 and 3 are ranked first and third.
    monkeypatch.setattr(light_gcn_training, "MIN_ITEMS", 9)
    module = module_of([[1, 0, 0, 0, 0]], small(embedding_size=1, layers=0))
    with torch.no_grad():
        module.nodes.copy_(torch.tensor([[1.0], [9.0], [5.0], [3.0], [2.0], [1.0]]))
    examples = hold_out(csr_matrix(np.array([[1, 0, 0, 0, 0]], np.float32)), 0)
    examples = replace(
        examples,
        held_out_users=np.array([0], np.int32),
        held_out_items=csr_matrix(np.array([[0, 1, 0, 1, 0]], np.float32)),
    )
    ideal = 1 + 1 / np.log2(3)
    assert validation_ndcg(module, examples) == pytest.approx((1 + 1 / np.log2(4)) / ideal)


def test_training_starts_where_interactions_stand_out(shop_of: Shop):
    weights = normalize_by_degree(hold_out(shop_of(EVENTS).positives, 0).user_items)
    vectors = initial_vectors(weights, small())
    assert vectors.shape == (70, 8)
    lengths = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-5)


@pytest.mark.parametrize("loss", ["softmax", "bpr"])
def test_either_loss_learns_who_wants_what(loss: str, shop_of: Shop):
    shop = shop_of(EVENTS)
    model = LightGcn(small(loss=loss)).fit(shop)
    rows, _ = model.recommend(np.arange(40, dtype=np.int32), 9)
    kinds = np.array([int(item[1:]) % 3 for item in shop.items.ids(rows.ravel())]).reshape(rows.shape)
    own = np.array([int(user[1:]) % 3 for user in shop.users.values])
    assert (kinds == own[:, None]).mean() > 0.97
    assert 1 <= model.epochs <= 8


def test_a_fit_that_diverges_is_an_error(shop_of: Shop):
    with pytest.raises(ModelError, match="light_gcn: the fit gave a loss that are not finite"):
        LightGcn(small(learning_rate=1e30)).fit(shop_of(EVENTS))


def test_without_torch_the_error_says_what_to_install(shop_of: Shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "recsys.models._graph.light_gcn_training", None)
    with pytest.raises(ModelError, match=r"install recsys-engine\[neural\]"):
        LightGcn(small()).fit(shop_of(EVENTS))
