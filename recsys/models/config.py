"""Types of the fields of model configs, and the ranges in which fields are tuned."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ZeroOrMore = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Range:
    """The interval in which a setting is tuned, both ends included.

    A range suits shops of any size: the settings tuned are powers, or relative to the size of the data.
    """

    low: float
    high: float
    logarithmic: bool = False
    """Whether values are sampled on a log scale."""


SearchSpace = Mapping[str, Range]
"""The range of each setting that is tuned, by name. It holds only settings whose best value depends on the data."""
