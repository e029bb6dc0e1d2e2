"""The contents of the report about lists beside the best one of each user, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass

from recsys.evaluation.comparison.measurement import ModelMeasurement


@dataclass(frozen=True)
class ListPart:
    """The lists of items to buy again, or of items that are new for the user."""

    name: str
    """`again` or `new`."""
    models: tuple[str, ...]
    """Models of its own; empty if it has the order of the published lists."""
    users: int
    """Users of the validation window with a relevant item of the part."""
    gain: float
    """Metric of the best models of its own minus that of the published order, for these users."""
    measurements: Mapping[str, ModelMeasurement]
    """Lists as `chosen`, in the order of the `winner`, and of a `baseline`, on the test window; or empty."""


@dataclass(frozen=True)
class NewUsers:
    """The popular lists that users without history could get, and the one that they get."""

    chosen: str
    users: int
    """Users without history in the validation window."""
    test_users: int
    validation: Mapping[str, Mapping[str, float]]
    """List -> metric at k -> mean over the users; empty without any."""
    test: Mapping[str, Mapping[str, float]]
