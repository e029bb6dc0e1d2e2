"""Blend: the lists of several models made one, each with its weight."""

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
from recsys.models.base import NOTHING, Model, rank_users_in_blocks, write_listed
from recsys.models.config import ZeroOrMore
from recsys.ranking.top_k import Exclude, Scores, top_k_of_entries
from recsys.settings.types import Positive

BLOCK_USERS = 1_024


@dataclass(frozen=True)
class BlendConfig:
    """Which models are blended, and how much each counts."""

    members: tuple[str, ...]
    """Names of the models."""
    light: tuple[ZeroOrMore, ...]
    """Weight of each member for users with few events."""
    heavy: tuple[ZeroOrMore, ...]
    """Weight of each member for all other users."""
    light_user_events: Positive = 20
    """A user with fewer events than this has few."""
    depth: Positive = 200
    """Places of each member's list that count."""


class Blend(Model):
    """An item's score is the weighted sum over the members of what its place in the member's list is worth.

    Places are counted among what may be shown to the user, and are worth what `rank_values` says: a rank-based
    fusion, as in Cormack, Clarke, Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
    Learning Methods" (SIGIR 2009), with a logarithm in place of the reciprocal and weights that are chosen on
    validation data. Users with few events may have weights of their own. A user of whom no member knows anything
    has no list.
    """

    def __init__(self, config: BlendConfig, members: Mapping[str, Model]) -> None:
        self.config = config
        self.members = [members[name] for name in config.members]

    def fit(self, interactions: Interactions) -> Self:
        """Fit every member."""
        for member in self.members:
            member.fit(interactions)
        return self.assemble(interactions)

    def assemble(self, interactions: Interactions) -> Self:
        """Take the members as they were fitted on `interactions`."""
        users, self._items = interactions.shape
        events = np.bincount(interactions.user_rows, minlength=users)
        self._light = events < self.config.light_user_events
        return self

    def scores(self, user_rows: Rows) -> Scores:
        """Scores of the items that any member lists for a user, -inf for all others."""
        scores = np.full((len(user_rows), self._items), -np.inf, np.float32)
        write_listed(scores, *self.recommend(user_rows, self._items))
        return scores

    def recommend(self, user_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """The merged lists, block by block."""
        return rank_users_in_blocks(lambda rows: self._merge(rows, n, exclude), user_rows, n, BLOCK_USERS)

    def _merge(self, user_rows: Rows, n: int, exclude: Exclude) -> tuple[Rows, Scores]:
        depth = max(self.config.depth, n)
        lists = [member.recommend(user_rows, depth, exclude)[0] for member in self.members]
        return merge_lists(lists, member_weights(self.config, self._light[user_rows]), n)

    def save(self, directory: Path) -> None:
        """Write every member to a directory of its own, and which users have few events."""
        for name, member in zip(self.config.members, self.members, strict=True):
            (directory / name).mkdir()
            member.save(directory / name)
        save_model(directory, "blend", self.config, {"light": self._light, "items": np.array([self._items])})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the members and which users have few events."""
        from recsys.models.registry import model_type  # the registry lists models, and a blend is one

        config, arrays = load_model(directory, "blend", BlendConfig)
        model = cls(config, {name: model_type(name).load(directory / name) for name in config.members})
        model._light, model._items = arrays["light"], int(arrays["items"][0])
        return model


def member_weights(config: BlendConfig, light: NDArray[np.bool_]) -> Scores:
    """The weight of each member for users who have few events or not, (users, members)."""
    return np.array([config.heavy, config.light], np.float32)[light.astype(int)]


def merge_lists(lists: Sequence[Rows], weights: Scores, n: int) -> tuple[Rows, Scores]:
    """The n best of lists (users, depth), one a member, by weights (users, members); as `recommend` gives them."""
    pool = pool_lists(lists)
    scores = np.einsum("nm,nm->n", pool.values, weights[pool.users])
    return top_k_of_entries(pool.users, pool.items, scores, len(weights), n)
