"""Buy again: the chance that a user buys an item in the days to come, learned from the shop's own last weeks."""

# LightGBM leaves the arguments of its callbacks without a type.
# pyright: reportUnknownMemberType=false

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.ids import UNKNOWN, Rows
from recsys.models._purchases.purchase_days import PurchaseDays, purchase_days
from recsys.models._purchases.purchase_features import PurchaseFeatures, Table, describe_purchases
from recsys.models.artifacts import Array, check_finite, load_model, save_model, sparse_arrays, sparse_matrix
from recsys.models.base import NOTHING, Model, rank_users_in_blocks, write_listed
from recsys.models.config import AboveZero, Seed
from recsys.models.repurchase import Repurchase
from recsys.ranking.top_k import Exclude, Scores, top_k_of_entries
from recsys.settings.types import Positive

if TYPE_CHECKING:
    import lightgbm

BLOCK_USERS = 2_048
TIE_BREAK = 1e-4


@dataclass(frozen=True)
class BuyAgainConfig:
    """What is ranked, what counts as bought again, and how the trees are grown."""

    candidates: Positive = 100
    """Items of each user that are ranked by chance: the best by `repurchase`."""
    horizon_days: AboveZero = 14.0
    """A purchase in so many days is what the chance is of."""
    windows: Positive = 8
    """Successive horizons, the last one back from now, that the trees learn from."""
    training_users: Positive = 20_000
    """Most users that the trees learn from, over all windows."""
    trees: Positive = 250
    """Boosting rounds."""
    leaves: Positive = 31
    """Most leaves of a tree."""
    learning_rate: AboveZero = 0.05
    """What of each tree is added."""
    leaf_rows: Positive = 500
    """Fewest training rows of a leaf."""
    seed: Seed = 0
    """Where the sample of users comes from."""


class BuyAgain(Model):
    """Ranks the best items of `Repurchase` by the chance that the user buys them within `horizon_days`.

    The chance is that of gradient boosted trees (Ke et al., "LightGBM: A Highly Efficient Gradient Boosting
    Decision Tree", NeurIPS 2017) over what is known of the pair, the item and the user (`PurchaseFeatures`). They
    learn from the shop itself: the features at the start of each of its last `windows`, and what the user bought in
    it. That the time since the last purchase, against the user's own gap, decides what is bought again is the
    finding of Bhagat, Muralidharan, Lobzhanidze, Vishwanath, "Buy It Again: Modeling Repeat Purchase
    Recommendations" (KDD 2018), who fit a closed form instead. All other items follow in the order of
    `Repurchase`; so do all items where the history is shorter than the horizon, or shows no purchase in it.
    """

    def __init__(self, config: BuyAgainConfig = BuyAgainConfig()) -> None:
        self.config: BuyAgainConfig = config

    def fit(self, interactions: Interactions) -> Self:
        """Grow the trees on the last days, then describe what is known now."""
        purchases = purchase_days(interactions)
        self._repurchase = Repurchase().fit_purchases(purchases)
        self._features = describe_purchases(purchases)
        self._trees = self._grow(purchases)
        check_finite("buy_again", **self._features.arrays())
        return self

    def _grow(self, purchases: PurchaseDays) -> "lightgbm.Booster | None":
        import lightgbm  # takes a second, which a command that trains nothing shall not wait

        windows = [self._window(purchases.before(self.config.horizon_days * n)) for n in range(self.config.windows)]
        rows = np.concatenate([features for features, _ in windows])
        bought = np.concatenate([labels for _, labels in windows])
        if bought.all() or not bought.any():
            return None
        return lightgbm.train(
            _parameters(self.config), lightgbm.Dataset(rows, bought.astype(np.float32)), self.config.trees
        )

    def _window(self, purchases: PurchaseDays) -> tuple[Table, NDArray[np.bool_]]:
        """Features of the candidates at `horizon_days` before the moment, and which were bought since."""
        config = self.config
        earlier = purchases.before(config.horizon_days)
        users = np.unique(earlier.pairs // earlier.shape[1]).astype(np.int32)
        most = config.training_users // config.windows
        if len(users) > most:
            users = np.sort(np.random.default_rng(config.seed).choice(users, most, replace=False))
        ranked = Repurchase().fit_purchases(earlier)
        items, _ = ranked.recommend(users, config.candidates)
        listed, places = np.nonzero(items != UNKNOWN)
        user_rows, item_rows = users[listed], items[listed, places]
        pairs = user_rows.astype(np.int64) * earlier.shape[1] + item_rows
        bought = np.isin(pairs, purchases.within(config.horizon_days))
        return describe_purchases(earlier).of(user_rows, item_rows), bought

    def scores(self, user_rows: Rows) -> Scores:
        """1 and the chance for each user's candidates, under 1 for all others, ties as `Repurchase` has them."""
        scores = self._repurchase.scores(user_rows)
        scores /= 1 + scores
        write_listed(scores, *self.recommend(user_rows, self.config.candidates))
        return scores

    def recommend(self, user_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """Candidates are the best by `Repurchase` of what may be shown, block by block."""
        return rank_users_in_blocks(lambda rows: self._rank(rows, n, exclude), user_rows, n, BLOCK_USERS)

    def _rank(self, user_rows: Rows, n: int, exclude: Exclude) -> tuple[Rows, Scores]:
        items, scores = self._repurchase.recommend(user_rows, max(n, self.config.candidates), exclude)
        listed = items != UNKNOWN
        scores[listed] /= 1 + scores[listed]
        if self._trees is not None:
            listed[:, self.config.candidates :] = False
            users, places = np.nonzero(listed)
            chances = self._trees.predict(self._features.of(user_rows[users], items[users, places]))
            scores[users, places] = 1 + np.asarray(chances, np.float32) + TIE_BREAK * scores[users, places]
        users, places = np.nonzero(items != UNKNOWN)
        return top_k_of_entries(users, items[users, places], scores[users, places], len(items), n)

    def save(self, directory: Path) -> None:
        """Write the trees as text, what is known of the purchases, and what `Repurchase` fitted."""
        arrays: dict[str, Array] = self._features.arrays() | {
            **sparse_arrays("rates", self._repurchase.rates),
            "prior": self._repurchase.prior,
            "trees": np.frombuffer(self._trees.model_to_string().encode() if self._trees else b"", np.uint8),
        }
        save_model(directory, "buy_again", self.config, arrays)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote."""
        import lightgbm  # as in `_grow`

        config, arrays = load_model(directory, "buy_again", BuyAgainConfig)
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
        # Each tree sees half of the rows and half of the features, so that no single window's season leads.
        "feature_fraction": 0.5,
        "bagging_fraction": 0.5,
        "bagging_freq": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": config.seed,
        "verbosity": -1,
    }
