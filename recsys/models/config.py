"""Ranges of the numbers in models' configs; `Positive` of the settings is the other one."""

from typing import Annotated

from pydantic import Field

AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ZeroOrMore = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0)]
