"""How dear an item is beside the others of its category."""

from typing import Final

import polars as pl

from recsys.schema import CATEGORY, PRICE

_HAS_CATEGORY: Final = pl.col(CATEGORY).list.len() > 0

PRICE_RANK: Final = pl.when(_HAS_CATEGORY).then(
    (pl.col(PRICE).rank("average").over(CATEGORY) - 0.5) / pl.col(PRICE).count().over(CATEGORY)
)
"""Share of the category's priced items that are cheaper, an equal price counted half: the cheapest of four has
0.125, the only one 0.5. Null without a price or a category."""
