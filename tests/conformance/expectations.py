"""Expectations about a model that its own test module passes to the conformance suite."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Expectations:
    """Settings of a model in the suite, and the rules to which it is an exception.

    The model's test module, such as `tests/recsys/models/test_als.py`, sets them as `CONFORMANCE`; without, these
    defaults apply.
    """

    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Settings that suit matrices of a few hundred entries, where the defaults are for a shop's."""
    is_personal: bool = True
    """Whether users get different lists."""
    predicts_new_items: bool = True
    """Whether the order of items new to the user is personal too."""
    needs_repeats: bool = False
    """Whether the model learns from repeat purchases, of which the checkerboard has none."""
    ranks_after_exclusion: bool = False
    """Whether excluded items change the order of the others."""
    counts_refunds: bool = True
    """Whether items that everybody sent back rank below others."""
