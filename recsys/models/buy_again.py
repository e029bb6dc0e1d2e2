"""Buy again: the probability of a repurchase in the next days, learned from the shop's last weeks."""

# LightGBM does not type the arguments of its callbacks.
# pyright: reportUnknownMemberType=false

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.ids import UNKNOWN, Rows
from recsys.models._purchases.boosted_trees import prediction_work, reproducible_parameters, training_work
from recsys.models._purchases.purchase_days import PurchaseDays, purchase_days
from recsys.models._purchases.purchase_features import PurchaseFeatures, Table, describe_purchases
from recsys.models.artifacts import Array, check_finite, load_model, save_model, sparse_arrays, sparse_matrix
from recsys.models.base import NO_EXCLUSION, Model, rank_users_in_blocks, write_list_scores
from recsys.models.config import AboveZero, Seed
from recsys.models.repurchase import Repurchase
from recsys.models.work import row_work, sort_work
from recsys.ranking.top_k import Exclusion, Scores, top_k_of_entries
from recsys.settings.types import Positive

if TYPE_CHECKING:
    import lightgbm

BLOCK_USERS = 2_048
TIE_BREAK = 1e-4


@dataclass(frozen=True)
class BuyAgainConfig:
    """Candidates, training windows and gradient boosting."""

    candidates: Positive = 100
    """Number of items of each user that are ranked by probability: the best by `repurchase`."""
    horizon_days: AboveZero = 14.0
    """Length of the period in which a purchase is predicted, in days."""
    windows: Positive = 8
    """Number of successive horizons before now that the trees are trained on."""
    training_users: Positive = 20_000
    """Maximum number of users that the trees are trained on, over all windows."""
    trees: Positive = 250
    """Number of boosting rounds."""
    leaves: Positive = 31
    """Maximum number of leaves of a tree."""
    learning_rate: AboveZero = 0.05
    """Shrinkage of the contribution of each tree."""
    leaf_rows: Positive = 500
    """Minimum number of training rows of a leaf."""
    seed: Seed = 0
    """Seed of the sample of users and of the boosting."""


class BuyAgain(Model):
    """Repeat purchases by gradient boosting: ranks the best items of `Repurchase` by probability of purchase.

    Gradient boosted trees (Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS 2017)
    predict the probability that the user buys an item within `horizon_days`, from features of the pair, the item
    and the user (`PurchaseFeatures`). They are trained on the shop's own history: the features at the start of each
    of its last `windows`, and the user's purchases within it. That the time since the last purchase, relative to
    the user's usual gap, predicts a repurchase is the finding of Bhagat, Muralidharan, Lobzhanidze, Vishwanath,
    "Buy It Again: Modeling Repeat Purchase Recommendations" (KDD 2018), who fit a closed form instead. All other
    items follow in the order of `Repurchase`, and so do all items when the history is shorter than the horizon or
    has no purchase in it.
    """

    name = "buy_again"
    config_type = BuyAgainConfig
    config: BuyAgainConfig

    def __init__(self, config: BuyAgainConfig = BuyAgainConfig()) -> None:
        super().__init__(config)

    def work(self, users: int, items: int, interactions: int) -> float:
        """Count the histories of each window, and the training rows of each tree."""
        config = self.config
        histories = (config.windows + 1) * Repurchase().work(users, items, interactions)
        rows = self._training_rows(users, interactions)
        return histories + sort_work(rows) + training_work(rows, config.trees)

    def ranking_work(self, users: int, items: int, interactions: int) -> float:
        """Count the probabilities of the candidates, tree by tree."""
        rows = users * min(self.config.candidates, items)
        probabilities = prediction_work(rows, self.config.trees)
        return 2 * row_work(users) + sort_work(interactions + rows) + probabilities

    def _training_rows(self, users: int, interactions: int) -> float:
        """Return the number of candidates of the users of all windows."""
        config = self.config
        trained = min(users, config.training_users // config.windows)
        return float(config.windows) * min(trained * config.candidates, interactions)

    def fit(self, interactions: Interactions) -> Self:
        """Train the trees on the last windows, then compute the features of now."""
        purchases = purchase_days(interactions)
        self._repurchase = Repurchase().fit_purchases(purchases)
        self._features = describe_purchases(purchases)
        self._trees = self._train(purchases)
        check_finite(self.name, **self._features.arrays())
        return self

    def _train(self, purchases: PurchaseDays) -> "lightgbm.Booster | None":
        """Train the trees; return None when all candidates were bought again, or none was."""
        import lightgbm  # takes a second to import, which commands that train nothing do not need

        windows = [self._window(purchases.before(self.config.horizon_days * n)) for n in range(self.config.windows)]
        rows = np.concatenate([features for features, _ in windows])
        bought = np.concatenate([labels for _, labels in windows])
        if bought.all() or not bought.any():
            return None
        return lightgbm.train(
            _parameters(self.config), lightgbm.Dataset(rows, bought.astype(np.float32)), self.config.trees
        )

    def _window(self, purchases: PurchaseDays) -> tuple[Table, NDArray[np.bool_]]:
        """Compute features of candidates `horizon_days` ago, (N, 22), and whether each was bought since, (N,)."""
        config = self.config
        earlier = purchases.before(config.horizon_days)
        users = np.unique(earlier.pairs // earlier.shape[1]).astype(np.int32)
        max_users = config.training_users // config.windows
        if len(users) > max_users:
            users = np.sort(np.random.default_rng(config.seed).choice(users, max_users, replace=False))
        ranked = Repurchase().fit_purchases(earlier)
        items, _ = ranked.recommend(users, config.candidates)
        listed, places = np.nonzero(items != UNKNOWN)
        user_rows, item_rows = users[listed], items[listed, places]
        pairs = user_rows.astype(np.int64) * earlier.shape[1] + item_rows
        bought = np.isin(pairs, purchases.within(config.horizon_days))
        return describe_purchases(earlier).join(user_rows, item_rows), bought

    def scores(self, user_rows: Rows) -> Scores:
        """Score candidates by 1 + their probability, and other items below 1 in the order of `Repurchase`."""
        scores = self._repurchase.scores(user_rows)
        scores /= 1 + scores
        write_list_scores(scores, *self.recommend(user_rows, self.config.candidates))
        return scores

    def recommend(self, user_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank in blocks of users; candidates are the best items by `Repurchase` that are not excluded."""
        return rank_users_in_blocks(lambda rows: self._rank(rows, n, exclude), user_rows, n, BLOCK_USERS)

    def _rank(self, user_rows: Rows, n: int, exclude: Exclusion) -> tuple[Rows, Scores]:
        items, scores = self._repurchase.recommend(user_rows, max(n, self.config.candidates), exclude)
        listed = items != UNKNOWN
        scores[listed] /= 1 + scores[listed]
        if self._trees is not None:
            listed[:, self.config.candidates :] = False
            users, places = np.nonzero(listed)
            probabilities = self._trees.predict(self._features.join(user_rows[users], items[users, places]))
            scores[users, places] = 1 + np.asarray(probabilities, np.float32) + TIE_BREAK * scores[users, places]
        users, places = np.nonzero(items != UNKNOWN)
        return top_k_of_entries(users, items[users, places], scores[users, places], len(items), n)

    def save(self, directory: Path) -> None:
        """Write the trees as text, the features, and the rates and prior of `Repurchase`."""
        arrays: dict[str, Array] = self._features.arrays() | {
            **sparse_arrays("rates", self._repurchase.rates),
            "prior": self._repurchase.prior,
            "trees": np.frombuffer(self._trees.model_to_string().encode() if self._trees else b"", np.uint8),
        }
        save_model(directory, self.name, self.config, arrays)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote."""
        import lightgbm  # as in `_train`

        config, arrays = load_model(directory, cls.name, cls.config_type)
        model = cls(config)
        model._repurchase = Repurchase()
        model._repurchase.rates, model._repurchase.prior = sparse_matrix("rates", arrays), arrays["prior"]
        model._features = PurchaseFeatures.from_arrays(arrays)
        text = arrays["trees"].tobytes().decode()
        model._trees = lightgbm.Booster(model_str=text) if text else None
        return model


def _parameters(config: BuyAgainConfig) -> dict[str, Any]:
    return {
        "objective": "binary",
        "num_leaves": config.leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": config.leaf_rows,
        # Each tree sees half of the rows and features, so that the season of one window does not dominate.
        "feature_fraction": 0.5,
        "bagging_fraction": 0.5,
        "bagging_freq": 1,
        **reproducible_parameters(config.seed),
    }
