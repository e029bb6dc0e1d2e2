"""What users do online, at a pace."""

from datetime import datetime, timedelta
from typing import Any

Row = dict[str, Any]


def views(user: str, count: int, seconds: float, start: datetime, uneven: float = 0.0, **facts: Any) -> list[Row]:
    """Views of different items, so many seconds apart; `uneven` below 1 is how much gaps vary."""
    places = [number + uneven * (number * 37 % 11) / 11 for number in range(count)]
    return [
        {
            "user_id": user,
            "item_id": f"i{number}",
            "event": "view",
            "timestamp": start + timedelta(seconds=place * seconds),
            **facts,
        }
        for number, place in enumerate(places)
    ]
