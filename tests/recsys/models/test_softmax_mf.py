"""Matrix factorization by softmax: the loss worked out by hand, who wants what, errors."""

import sys
from collections.abc import Callable
from dataclasses import replace
from math import exp, log
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from recsys.errors import ModelError
from recsys.models._graph.light_gcn_config import LightGcnConfig
from recsys.models._graph.light_gcn_training import LightGcnModule, hold_out
from recsys.models.softmax_mf import SoftmaxMf, SoftmaxMfConfig
from tests.conformance.expectations import Expectations

SMALL: dict[str, Any] = {"factors": 8, "negatives": 16, "batch_size": 64, "learning_rate": 0.05, "epochs": 12}
CONFORMANCE = Expectations(settings=SMALL)

Shop = Callable[..., Any]
EVENTS = [(f"u{user:02}", f"i{item:02}", 1.0, 1.0) for user in range(40) for item in range(user % 3, 30, 3)]


def test_users_get_the_items_of_their_kind_first(shop_of: Shop):
    shop = shop_of(EVENTS)
    model = SoftmaxMf(SoftmaxMfConfig(**SMALL, seed=2)).fit(shop)
    rows, _ = model.recommend(np.arange(40, dtype=np.int32), 9)
    kinds = np.array([int(item[1:]) % 3 for item in shop.items.ids(rows.ravel())]).reshape(rows.shape)
    own = np.array([int(user[1:]) % 3 for user in shop.users.values])
    assert (kinds == own[:, None]).mean() > 0.97
    assert 1 <= model.epochs <= 12


def test_without_convolutions_the_loss_is_the_softmax_of_the_dot_products():
    """Two users and three items with vectors of one number; a batch of both interactions and four negatives."""
    examples = hold_out(csr_matrix(np.array([[0, 1, 0], [0, 0, 1]], np.float32)), 0)
    config = LightGcnConfig(embedding_size=1, layers=0, negatives=4, regularization=0.5)
    module = LightGcnModule(examples, config, torch.device("cpu"))
    with torch.no_grad():
        module.nodes.copy_(torch.tensor([[1.0], [2.0], [0.5], [1.5], [-1.0]]))
    loss = module(torch.tensor([0, 1]), torch.Generator().manual_seed(4)).item()
    negatives = np.array([0.5, 1.5, -1.0])[torch.randint(3, (4,), generator=torch.Generator().manual_seed(4))]
    first = log(exp(1.5) + np.exp(negatives).sum()) - 1.5
    second = log(exp(-2) + np.exp(2 * negatives).sum()) + 2
    squares = (1 + 4) / 2 + (1.5**2 + 1) / 2 + np.square(negatives).mean()
    assert loss == pytest.approx((first + second) / 2 + 0.5 * squares, rel=1e-5)


def test_a_fit_that_diverges_is_an_error(shop_of: Shop):
    with pytest.raises(ModelError, match="softmax_mf: the fit gave a loss that are not finite"):
        SoftmaxMf(replace(SoftmaxMfConfig(**SMALL), learning_rate=1e30)).fit(shop_of(EVENTS))


def test_without_torch_the_error_says_what_to_install(shop_of: Shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "recsys.models._graph.light_gcn_training", None)
    with pytest.raises(ModelError, match=r"softmax_mf needs torch .* install recsys-engine\[neural\]"):
        SoftmaxMf().fit(shop_of(EVENTS))
