"""The report's sentence about what repeats in users' lists."""

from dataclasses import dataclass

from recsys.evaluation.report.formatting import format_integer, format_percent


@dataclass(frozen=True)
class ListedShare:
    """An item, and the share of lists that have it in their first places."""

    item_id: str
    title: str | None
    share: float


@dataclass(frozen=True)
class VarietySummary:
    """What repeats in the first places of the published lists, as shares of the lists."""

    lists: int
    places: int
    two_of_type: float
    max_per_type: int
    more_of_type: float
    """Share with more than `max_per_type` items of one product type."""
    same_title: float
    most_listed: tuple[ListedShare, ...]
    """The items that most lists have, the most frequent first."""


def variety_rows(variety: VarietySummary) -> list[tuple[str, str]]:
    """Return what repeats in the first places of lists, and the share of lists that have it."""
    rows = [
        ("Two items of one product type", variety.two_of_type),
        (f"More than {variety.max_per_type} of one product type", variety.more_of_type),
        ("One title twice", variety.same_title),
        *((each.title or each.item_id, each.share) for each in variety.most_listed),
    ]
    return [(name, format_percent(share)) for name, share in rows]


def variety_sentence(variety: VarietySummary) -> str:
    """State how many lists repeat a type or a title, and the item that most lists have."""
    first = variety.most_listed[0]
    return (
        f"Of the first {variety.places} places of {format_integer(variety.lists)} published lists, "
        f"{format_percent(variety.more_of_type)} have more than {variety.max_per_type} items of one product type, "
        "which is where users' own purchases show as many or no other item is left, and "
        f"{format_percent(variety.same_title)} have one title twice. {first.title or first.item_id} is in "
        f"{format_percent(first.share)} of them."
    )
