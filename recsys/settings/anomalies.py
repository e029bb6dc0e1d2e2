"""Settings of bot and attack detection: bots, click farms, shill accounts."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from recsys.settings.types import STRICT, Network, Positive

Share = Annotated[float, Field(ge=0, le=1)]
Score = Annotated[float, Field(ge=0, le=100)]


@dataclass(frozen=True, config=STRICT)
class Anomalies:
    """Which users are flagged online, and which are excluded from training by the nightly run."""

    online: Literal["flag", "shadow", "off"] = "flag"
    """What the server does with users whose events look automated: `flag` them, `shadow` (only count them), or
    `off` (do not check)."""
    flag_threshold: Score = 80.0
    """Anomaly score, 0 to 100, from which the server flags a user."""
    flag_hours: Annotated[float, Field(gt=0)] = 24.0
    """Hours until a flag set by the server expires."""
    max_flagged_share: Share = 0.02
    """Share of a day's active users; when more than this are flagged, no further user is flagged automatically
    until the next day."""
    nightly: Literal["screen", "shadow", "off"] = "screen"
    """What the nightly run does with users whose events look automated: `screen` (exclude them from training),
    `shadow` (only report them), or `off` (do not check)."""
    screen_threshold: Score = 80.0
    """Anomaly score, 0 to 100, from which the nightly run excludes a user."""
    allowed_users: tuple[str, ...] = ()
    """Ids of users who are never flagged or excluded, such as test accounts."""
    allowed_networks: tuple[Network, ...] = ()
    """Networks, such as 10.0.0.0/8, whose IP addresses are ignored as evidence: proxies, offices, monitoring."""
    min_support: Positive = 3
    """Minimum number of distinct users behind an item before it is published as similar to, or bought together
    with, another item."""
