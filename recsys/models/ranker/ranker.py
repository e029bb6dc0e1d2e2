"""Ranker: the second stage, which re-ranks candidates of several models by gradient boosted trees."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

import numpy as np
import polars as pl

from recsys.data.interactions import Interactions
from recsys.ids import Rows
from recsys.models._purchases.purchase_days import purchase_days
from recsys.models.artifacts import load_model, save_model
from recsys.models.base import NO_EXCLUSION, Model, rank_users_in_blocks, write_list_scores
from recsys.models.config import AboveZero, Seed
from recsys.models.ranker.candidates import find_later_items, pool_candidates
from recsys.models.ranker.explanation import FeatureEffect, explain_trees
from recsys.models.ranker.item_facts import item_facts
from recsys.models.ranker.shop_features import ShopFeatures, describe_shop
from recsys.models.ranker.training_windows import TrainingWindows, describe_candidates, feature_names
from recsys.models.ranker.trees import RankingTrees, TreeSettings, train_trees
from recsys.ranking.top_k import Exclusion, Scores, top_k_of_entries
from recsys.settings.types import Positive

BLOCK_USERS: Final = 512
DEPTH: Final = 200
"""Places of each member's list that count."""
PLOTTED_FEATURES: Final = 6
"""Features with a partial dependence, the most important ones."""


@dataclass(frozen=True)
class RankerConfig:
    """Members, training windows and gradient boosting."""

    members: tuple[str, ...]
    """Names of the models that candidates come from."""
    repeat: Literal["allow", "exclude"] = "allow"
    """Whether candidates include items that the user had before a training window."""
    window_days: AboveZero = 28.0
    """Length of the period in which a purchase is predicted, in days."""
    windows: Positive = 4
    """Maximum number of successive periods before now that the trees are trained on."""
    half_life_days: AboveZero = 90.0
    """Half-life of events in the confidence that members learn from in training."""
    candidates: Positive = 250
    """Number of items of each user that are ranked by the trees: the best by all members together."""
    trees: Positive = 200
    """Number of boosting rounds."""
    leaves: Positive = 15
    """Maximum number of leaves of a tree."""
    learning_rate: AboveZero = 0.05
    """Shrinkage of the contribution of each tree."""
    seed: Seed = 0
    """Seed of the boosting and of the sample of users in training."""


class Ranker(Model):
    """The second stage: gradient boosted trees rank the best items of several models by what they do next.

    A candidate is described by its place in the list of each member, by the user's purchases of it and of its
    categories (frequency, recency, regularity, share), by those of other users, and by its price. The trees are
    trained on the shop's own history: at the start of each of the last `windows`, members are fitted on the events
    before it, and the items that the user bought within it are those to rank first. Half of a score is from trees
    for the probability of purchase, half from trees for the order (LambdaMART). Two stages of this kind, candidates
    and a ranking by features, are described by Covington, Adams, Sargin, "Deep Neural Networks for YouTube
    Recommendations" (RecSys 2016).

    When the history is shorter than a window, or has no purchase in it, candidates keep the order of the sum of
    their place values. A user for whom no member has a list has no list.
    """

    name = "ranker"
    config_type = RankerConfig
    config: RankerConfig

    def __init__(
        self,
        config: RankerConfig,
        members: Mapping[str, Model],
        catalogue: pl.DataFrame | None = None,
        trees: RankingTrees | None = None,
    ) -> None:
        """Take unfitted members, and a catalogue as in `item_facts`; with `trees`, `fit` trains none."""
        super().__init__(config)
        self.members = [members[name] for name in config.members]
        self.trees = trees
        self._are_trees_given = trees is not None
        self.windows = 0
        """The number of windows that `train` used."""
        self.effects: tuple[FeatureEffect, ...] = ()
        """The features after `train`, the most important first."""
        self._catalogue = catalogue

    def fit(self, interactions: Interactions) -> Self:
        """Train the trees, unless they were given, then fit every member."""
        if not self._are_trees_given:
            self.train(interactions)
        for member in self.members:
            member.fit(interactions)
        return self.assemble(interactions)

    def train(self, interactions: Interactions) -> Self:
        """Train the trees on earlier windows; the members are left fitted on the events before one of them."""
        config = self.config
        windows = TrainingWindows(
            config.window_days, config.windows, config.half_life_days, config.repeat, config.candidates, config.seed
        )
        facts = item_facts(self._catalogue, interactions.items)
        tables = list(windows.tables(interactions, facts, self._fit_and_list))
        self.windows = len(tables)
        self.trees = train_trees(
            tables, TreeSettings(config.trees, config.leaves, config.learning_rate, config.seed)
        )
        if self.trees is not None:
            names = feature_names(config.members, facts.level_names)
            self.effects = explain_trees(self.trees, names, tables[0].features, PLOTTED_FEATURES, config.seed)
        return self

    def _fit_and_list(self, interactions: Interactions, user_rows: Rows, exclude: Exclusion) -> list[Rows]:
        return [member.fit(interactions).recommend(user_rows, DEPTH, exclude)[0] for member in self.members]

    def assemble(self, interactions: Interactions) -> Self:
        """Compute the features of now; the members are fitted on `interactions`, or not used."""
        self.shop = describe_shop(purchase_days(interactions), item_facts(self._catalogue, interactions.items))
        return self

    def scores(self, user_rows: Rows) -> Scores:
        """Score the items that any member lists for a user; all others score -inf."""
        items = len(self.shop.of_item)
        scores = np.full((len(user_rows), items), -np.inf, np.float32)
        write_list_scores(scores, *self.recommend(user_rows, items))
        return scores

    def recommend(self, user_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank the lists of the members, in blocks of users."""

        def rank(rows: Rows) -> tuple[Rows, Scores]:
            lists = [member.recommend(rows, max(DEPTH, n), exclude)[0] for member in self.members]
            return self._rank(lists, rows, n)

        return rank_users_in_blocks(rank, user_rows, n, BLOCK_USERS)

    def rank_lists(self, lists: Sequence[Rows], user_rows: Rows, n: int) -> Rows:
        """Rank lists that the members made for `user_rows`, (users, depth) each, to (users, n)."""
        places = np.arange(len(user_rows), dtype=np.int32)

        def rank(block: Rows) -> tuple[Rows, Scores]:
            return self._rank([rows[block, : max(DEPTH, n)] for rows in lists], user_rows[block], n)

        return rank_users_in_blocks(rank, places, n, BLOCK_USERS)[0]

    def _rank(self, lists: Sequence[Rows], user_rows: Rows, n: int) -> tuple[Rows, Scores]:
        """Score the best `candidates` of each user from 1 to 2 by the trees, and all others below 1.

        Items that are in no list before its place `DEPTH` come last, so that `n` changes no score.
        """
        pool = pool_candidates([rows[:, :DEPTH] for rows in lists], max(n, self.config.candidates))
        scores = pool.sums / np.float32(len(lists) + 1)
        if self.trees is not None:
            is_best = pool.places < self.config.candidates
            best = describe_candidates(self.shop, pool.select(is_best), user_rows)
            scores[is_best] = 1 + self.trees.scores(best)
        users, items, places = find_later_items(lists, DEPTH)
        return top_k_of_entries(
            np.concatenate([pool.users, users]),
            np.concatenate([pool.items, items]),
            np.concatenate([scores, -places.astype(np.float32)]),
            len(user_rows),
            n,
        )

    def save(self, directory: Path) -> None:
        """Write every member to a directory of its own, and the features and trees to one file."""
        for name, member in zip(self.config.members, self.members, strict=True):
            (directory / name).mkdir()
            member.save(directory / name)
        self.save_without_members(directory)

    def save_without_members(self, directory: Path) -> None:
        """Write the features and the trees; see `load_with`."""
        trees = self.trees.arrays() if self.trees else {}
        save_model(directory, self.name, self.config, self.shop.arrays() | trees)

    def save_trees(self, directory: Path) -> None:
        """Write the trees alone, which hold no data of single users; see `load_trees`."""
        save_model(directory, self.name, self.config, self.trees.arrays() if self.trees else {})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the members, the features and the trees."""
        from recsys.models.registry import model_type  # avoids an import of every model

        return cls.load_with(directory, lambda name: model_type(name).load(directory / name))

    @classmethod
    def load_with(cls, directory: Path, load_member: Callable[[str], Model]) -> Self:
        """Read the features and the trees, with members from another place."""
        config, arrays = load_model(directory, cls.name, cls.config_type)
        model = cls(config, {name: load_member(name) for name in config.members})
        model.shop, model.trees = ShopFeatures.from_arrays(arrays), RankingTrees.from_arrays(arrays)
        return model

    @classmethod
    def load_trees(cls, directory: Path) -> RankingTrees | None:
        """Read the trees, of a file with or without features."""
        return RankingTrees.from_arrays(load_model(directory, cls.name, cls.config_type)[1])
