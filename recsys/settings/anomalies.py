"""Settings of what is done about bots, click farms and shills."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from recsys.settings.types import STRICT, Network, Positive

Share = Annotated[float, Field(ge=0, le=1)]
Score = Annotated[float, Field(ge=0, le=100)]


@dataclass(frozen=True, config=STRICT)
class Anomalies:
    """Who is held back, and who is not taken for a shopper by the models."""

    online: Literal["flag", "shadow", "off"] = "flag"
    """What the server does with users whose events are no shopper's: flag them, only count them, nothing."""
    flag_threshold: Score = 80.0
    """Score, 0 to 100, from which a user is flagged online."""
    flag_hours: Annotated[float, Field(gt=0)] = 24.0
    """How long an online flag holds."""
    max_flagged_share: Share = 0.02
    """Share of a day's users beyond which no more are flagged automatically until the next day."""
    nightly: Literal["screen", "shadow", "off"] = "screen"
    """What the nightly run does with users who are no shoppers: keep them out of training, only report them, or
    not look."""
    screen_threshold: Score = 80.0
    """Score, 0 to 100, from which the nightly run screens a user out."""
    allowed_users: tuple[str, ...] = ()
    """Users who are never flagged or screened out, as test accounts."""
    allowed_networks: tuple[Network, ...] = ()
    """Networks, as 10.0.0.0/8, whose addresses count for nothing: proxies, offices, monitoring."""
    min_support: Positive = 3
    """So many different users have to stand behind an item that is published as similar to another, or bought with
    it."""
