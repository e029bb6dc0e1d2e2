"""Next basket: the probability that an item is in a user's next basket, learned from everybody's latest one."""

# LightGBM does not type the arguments of its callbacks.
# pyright: reportUnknownMemberType=false

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.data.rank_merging import pool_lists
from recsys.ids import UNKNOWN, Rows
from recsys.models._purchases.boosted_trees import prediction_work, reproducible_parameters, training_work
from recsys.models._purchases.purchase_days import purchase_days
from recsys.models.artifacts import Array, check_finite, load_model, save_model
from recsys.models.base import NO_EXCLUSION, Model, rank_users_in_blocks
from recsys.models.config import AboveZero, Seed
from recsys.models.next_basket.basket_features import BUYERS, BasketFeatures, Table, describe_baskets
from recsys.models.next_basket.baskets import Baskets, group_into_baskets
from recsys.models.next_basket.markov_chain import MarkovChain
from recsys.models.next_basket.tifu_knn import TifuKnn
from recsys.models.next_basket.up_cf import UpCf
from recsys.models.work import sort_work
from recsys.ranking.top_k import Exclusion, Scores, top_k_of_entries
from recsys.settings.types import Positive

if TYPE_CHECKING:
    import lightgbm

BLOCK_USERS = 1_024
TIE_BREAK = 1e-4
PLACE_VALUES = slice(4, 7)  # columns of the features that hold the values of places


@dataclass(frozen=True)
class NextBasketConfig:
    """Candidates, training users and gradient boosting."""

    candidates: Positive = 60
    """Number of items that each of `tifu_knn`, `up_cf` and `markov_chain` proposes for a user."""
    training_users: Positive = 20_000
    """Maximum number of users whose latest basket the trees are trained on."""
    trees: Positive = 80
    """Number of boosting rounds."""
    leaves: Positive = 31
    """Maximum number of leaves of a tree."""
    learning_rate: AboveZero = 0.06
    """Shrinkage of the contribution of each tree."""
    leaf_rows: Positive = 200
    """Minimum number of training rows of a leaf."""
    seed: Seed = 0
    """Seed of the sample of users and of the boosting."""


@dataclass(frozen=True)
class _Sources:
    """Models that propose candidates, and the features, as of one moment."""

    tifu_knn: TifuKnn
    up_cf: UpCf
    markov_chain: MarkovChain
    features: BasketFeatures

    @classmethod
    def fit(cls, baskets: Baskets) -> "_Sources":
        models = TifuKnn().fit_baskets(baskets), UpCf().fit_baskets(baskets), MarkovChain().fit_baskets(baskets)
        return cls(*models, describe_baskets(baskets))

    @property
    def models(self) -> tuple[TifuKnn, UpCf, MarkovChain]:
        return self.tifu_knn, self.up_cf, self.markov_chain

    def propose(self, user_rows: Rows, n: int, exclude: Exclusion) -> tuple[Rows, Rows, Table]:
        """Return every model's n best items: places in `user_rows`, item rows (N,) and features (N, 22).

        Items that nobody bought are left out.
        """
        pool = pool_lists([model.recommend(user_rows, n, exclude)[0] for model in self.models])
        has_buyers = self.features.of_item[pool.items, BUYERS] > 0
        places, items = pool.users[has_buyers].astype(np.int32), pool.items[has_buyers]
        known = np.maximum(user_rows, 0)  # an unknown user has no pairs
        scores = (
            self.tifu_knn.frequencies[known],
            self.tifu_knn.neighbor_frequencies(known),
            self.up_cf.entries(known),
            self.markov_chain.entries(known),
        )
        columns = [_select(matrix, places, items) for matrix in scores]
        features = self.features.join(user_rows[places], items)
        return places, items, np.column_stack([*columns, pool.values[has_buyers], features])


class NextBasket(Model):
    """The next basket by gradient boosting: ranks what three models propose by the probability of a purchase.

    Gradient boosted trees (Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS 2017)
    predict whether an item is in the user's next basket, from the scores and places that `tifu_knn`, `up_cf` and
    `markov_chain` with their default settings give it and from `BasketFeatures`. They are trained on users' latest
    baskets, with models and features as of the one before. A basket is what a user bought on one day. All other
    items follow in the order of `tifu_knn`, and so do all items when no user has two baskets.
    """

    name = "next_basket"
    config_type = NextBasketConfig
    config: NextBasketConfig

    def __init__(self, config: NextBasketConfig = NextBasketConfig()) -> None:
        super().__init__(config)

    def work(self, users: int, items: int, interactions: int) -> float:
        """Count two fits of each model, the candidates of the training users, and their rows in each tree."""
        sizes, trained = (users, items, interactions), min(users, self.config.training_users)
        fits = 2 * sum(model.work(*sizes) for model in (TifuKnn(), UpCf(), MarkovChain()))
        rows = trained * self._candidate_count(items)
        share = trained / max(users, 1)
        trees = sort_work(rows) + training_work(rows, self.config.trees)
        return fits + self._proposal_work(trained, items, int(interactions * share)) + trees

    def ranking_work(self, users: int, items: int, interactions: int) -> float:
        """Count the candidates of each model and their probabilities, tree by tree."""
        rows = users * self._candidate_count(items)
        probabilities = prediction_work(rows, self.config.trees)
        return self._proposal_work(users, items, interactions) + sort_work(rows) + probabilities

    def _candidate_count(self, items: int) -> int:
        """Return the number of candidates of a user, as models propose many of the same."""
        return min(2 * self.config.candidates, items)

    def _proposal_work(self, users: int, items: int, interactions: int) -> float:
        """Estimate the work of the models' lists and scores, each of which takes as long as the other."""
        return 2 * sum(
            model.ranking_work(users, items, interactions) for model in (TifuKnn(), UpCf(), MarkovChain())
        )

    def fit(self, interactions: Interactions) -> Self:
        """Train the trees on latest baskets, then fit the models and compute the features of now."""
        baskets = group_into_baskets(purchase_days(interactions))
        self._trees = self._train(baskets)
        self._sources = _Sources.fit(baskets)
        check_finite(self.name, **self._sources.features.arrays())
        return self

    def _train(self, baskets: Baskets) -> "lightgbm.Booster | None":
        """Train the trees; return None when all candidates were bought in the latest basket, or none was."""
        import lightgbm  # takes a second to import, which commands that train nothing do not need

        users = np.flatnonzero(baskets.counts > 1).astype(np.int32)
        if len(users) == 0:
            return None
        if len(users) > self.config.training_users:
            random = np.random.default_rng(self.config.seed)
            users = np.sort(random.choice(users, self.config.training_users, replace=False))
        sources = _Sources.fit(baskets.before_latest())
        tables: list[Table] = []
        labels: list[NDArray[np.bool_]] = []
        for start in range(0, len(users), BLOCK_USERS):
            block = users[start : start + BLOCK_USERS]
            places, item_rows, features = sources.propose(block, self.config.candidates, NO_EXCLUSION)
            tables.append(features)
            labels.append(np.isin(block[places] * np.int64(baskets.shape[1]) + item_rows, baskets.latest_pairs))
        rows, bought = np.concatenate(tables), np.concatenate(labels)
        if bought.all() or not bought.any():
            return None
        data = lightgbm.Dataset(rows, bought.astype(np.float32))
        return lightgbm.train(_parameters(self.config), data, self.config.trees)

    def scores(self, user_rows: Rows) -> Scores:
        """Score candidates by 2 + their probability, and other items, below 2, as `tifu_knn` does."""
        scores = self._sources.tifu_knn.scores(user_rows)
        places, item_rows, candidate_scores = self._score_candidates(user_rows, NO_EXCLUSION)
        scores[places, item_rows] = candidate_scores
        return scores

    def recommend(self, user_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank in blocks of users; candidates are the best items of the models that are not excluded."""
        return rank_users_in_blocks(lambda rows: self._rank(rows, n, exclude), user_rows, n, BLOCK_USERS)

    def _rank(self, user_rows: Rows, n: int, exclude: Exclusion) -> tuple[Rows, Scores]:
        places, item_rows, scores = self._score_candidates(user_rows, exclude)
        others, other_scores = self._sources.tifu_knn.recommend(user_rows, n, exclude)
        items = len(self._sources.features.of_item)
        keys = np.arange(len(user_rows), dtype=np.int64)[:, None] * items + others
        is_other = (others != UNKNOWN) & ~np.isin(keys, places * np.int64(items) + item_rows)
        rows = np.concatenate([places, np.nonzero(is_other)[0]])
        columns, values = (
            np.concatenate([item_rows, others[is_other]]),
            np.concatenate([scores, other_scores[is_other]]),
        )
        return top_k_of_entries(rows, columns, values, len(user_rows), n)

    def _score_candidates(self, user_rows: Rows, exclude: Exclusion) -> tuple[Rows, Rows, Scores]:
        """Return the candidates: places in `user_rows`, item rows and scores, three arrays (N,)."""
        if self._trees is None:
            return np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)
        places, item_rows, features = self._sources.propose(user_rows, self.config.candidates, exclude)
        probabilities = np.zeros(0) if len(places) == 0 else self._trees.predict(features)
        tie_break = TIE_BREAK * features[:, PLACE_VALUES].mean(axis=1)
        return places, item_rows, 2 + np.asarray(probabilities, np.float32) + tie_break

    def save(self, directory: Path) -> None:
        """Write each model to a directory of its own, the features, and the trees as text."""
        for model in self._sources.models:
            (directory / model.name).mkdir()
            model.save(directory / model.name)
        text = self._trees.model_to_string() if self._trees else ""
        arrays: dict[str, Array] = {"trees": np.frombuffer(text.encode(), np.uint8)}
        save_model(directory, self.name, self.config, arrays | self._sources.features.arrays())

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote."""
        import lightgbm  # as in `_train`

        config, arrays = load_model(directory, cls.name, cls.config_type)
        model = cls(config)
        model._sources = _Sources(
            TifuKnn.load(directory / TifuKnn.name),
            UpCf.load(directory / UpCf.name),
            MarkovChain.load(directory / MarkovChain.name),
            BasketFeatures.from_arrays(arrays),
        )
        text = arrays["trees"].tobytes().decode()
        model._trees = lightgbm.Booster(model_str=text) if text else None
        return model


def _select(matrix: csr_matrix, rows: Rows, columns: Rows) -> Table:
    """Select entries by two parallel arrays (N,), as (N,)."""
    if len(rows) == 0:
        return np.empty(0, np.float32)  # for which scipy returns a matrix
    return np.asarray(matrix[rows, columns], np.float32).ravel()


def _parameters(config: NextBasketConfig) -> dict[str, Any]:
    return {
        "objective": "binary",
        "num_leaves": config.leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": config.leaf_rows,
        "feature_fraction": 0.6,
        "bagging_fraction": 0.6,
        "bagging_freq": 1,
        **reproducible_parameters(config.seed),
    }
