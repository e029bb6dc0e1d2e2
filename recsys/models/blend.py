"""Blend: weighted rank fusion of the lists of several models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.data.rank_merging import pool_lists
from recsys.ids import Rows
from recsys.models.artifacts import load_model, save_model
from recsys.models.base import NO_EXCLUSION, Model, rank_users_in_blocks, write_list_scores
from recsys.models.config import ZeroOrMore
from recsys.ranking.top_k import Exclusion, Scores, top_k_of_entries
from recsys.settings.types import Positive

BLOCK_USERS = 1_024


@dataclass(frozen=True)
class BlendConfig:
    """Blended models and their weights."""

    members: tuple[str, ...]
    """Names of the blended models."""
    light: tuple[ZeroOrMore, ...]
    """Weight of each member for users with few events."""
    heavy: tuple[ZeroOrMore, ...]
    """Weight of each member for all other users."""
    light_user_events: Positive = 20
    """Number of events below which a user is one with few events."""
    depth: Positive = 200
    """Number of places of each member's list that count."""


class Blend(Model):
    """Weighted rank fusion: a score is the sum over members of weight x value of the item's place in their list.

    Places are counted among the items that are not excluded for the user; `rank_values` gives their values. Source:
    Cormack, Clarke, Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods"
    (SIGIR 2009), here with a logarithm in place of the reciprocal and with weights that are chosen on validation
    data. Users with few events have separate weights. A user for whom no member has a list has no list.
    """

    name = "blend"
    config_type = BlendConfig
    config: BlendConfig

    def __init__(self, config: BlendConfig, members: Mapping[str, Model]) -> None:
        super().__init__(config)
        self.members = [members[name] for name in config.members]

    def fit(self, interactions: Interactions) -> Self:
        """Fit every member."""
        for member in self.members:
            member.fit(interactions)
        return self.assemble(interactions)

    def assemble(self, interactions: Interactions) -> Self:
        """Blend members that were fitted on `interactions` already."""
        users, self._items = interactions.shape
        events = np.bincount(interactions.user_rows, minlength=users)
        self._light = events < self.config.light_user_events
        return self

    def scores(self, user_rows: Rows) -> Scores:
        """Score the items that any member lists for a user; all others score -inf."""
        scores = np.full((len(user_rows), self._items), -np.inf, np.float32)
        write_list_scores(scores, *self.recommend(user_rows, self._items))
        return scores

    def recommend(self, user_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Merge the lists of the members, in blocks of users."""
        return rank_users_in_blocks(lambda rows: self._merge(rows, n, exclude), user_rows, n, BLOCK_USERS)

    def _merge(self, user_rows: Rows, n: int, exclude: Exclusion) -> tuple[Rows, Scores]:
        depth = max(self.config.depth, n)
        lists = [member.recommend(user_rows, depth, exclude)[0] for member in self.members]
        return merge_lists(lists, member_weights(self.config, self._light[user_rows]), n)

    def save(self, directory: Path) -> None:
        """Write every member to a directory of its own, and the mask of users with few events."""
        for name, member in zip(self.config.members, self.members, strict=True):
            (directory / name).mkdir()
            member.save(directory / name)
        save_model(directory, self.name, self.config, {"light": self._light, "items": np.array([self._items])})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the members and the mask of users with few events."""
        from recsys.models.registry import model_type  # avoids an import of every model

        config, arrays = load_model(directory, cls.name, cls.config_type)
        model = cls(config, {name: model_type(name).load(directory / name) for name in config.members})
        model._light, model._items = arrays["light"], int(arrays["items"][0])
        return model


def member_weights(config: BlendConfig, light: NDArray[np.bool_]) -> Scores:
    """Return the weights of users, (users, members); `light` (users,) marks users with few events."""
    return np.array([config.heavy, config.light], np.float32)[light.astype(int)]


def merge_lists(lists: Sequence[Rows], weights: Scores, n: int) -> tuple[Rows, Scores]:
    """Merge the lists (users, depth) of the members by weights (users, members), into those of `recommend`."""
    pool = pool_lists(lists)
    scores = np.einsum("nm,nm->n", pool.values, weights[pool.users])
    return top_k_of_entries(pool.users, pool.items, scores, len(weights), n)
