"""What is unusual about the data in a lake, in lines for people to check."""

from collections.abc import Iterator

from jobs.description.description import FREQUENT_SHARE, LakeDescription
from recsys.evaluation.report.formatting import count_noun, format_percent, join_words
from recsys.schema import PURCHASE

MIN_MIDNIGHT_SHARE = 0.5  # of the events of a type, from which a line says that they have no times
MAX_UNMATCHED_SHARE = 0.05  # of events without an item of the catalogue, or of purchases without a price
MAX_EXAMPLES = 5


def find_unusual(lake: LakeDescription) -> tuple[str, ...]:
    """Return a line for each thing that is unusual; lines may name users, and must not be logged."""
    if not lake.events:
        return ("The lake has no events",)
    return (*_times(lake), *_days(lake), *_joins(lake), *_frequent_users(lake))


def has_times(lake: LakeDescription) -> bool:
    """Return whether some event is not at midnight."""
    return lake.total("at_midnight") < lake.events


def _times(lake: LakeDescription) -> Iterator[str]:
    if not has_times(lake):
        yield "All events are at midnight: the sources give dates without times"
        return
    for kind in lake.types:
        if kind.at_midnight >= MIN_MIDNIGHT_SHARE * kind.events:
            share = "All" if kind.at_midnight == kind.events else format_percent(kind.at_midnight / kind.events)
            yield f"{share} of the {kind.event} events are at midnight: dates without times?"


def _days(lake: LakeDescription) -> Iterator[str]:
    if lake.empty_spans:
        spans = [
            f"{span.first}" if span.days == 1 else f"{span.first} to {span.last}"
            for span in lake.empty_spans[:MAX_EXAMPLES]
        ]
        days = sum(span.days for span in lake.empty_spans)
        yield f"{count_noun(days, 'day')} without events: {_examples(spans, len(lake.empty_spans))}"
    if lake.low_days:
        days = [f"{low.day} ({low.events:,}, usually {low.median:,.0f})" for low in lake.low_days[:MAX_EXAMPLES]]
        yield (
            f"{count_noun(len(lake.low_days), 'day')} with under a tenth of the events that are usual on the "
            f"weekday: {_examples(days, len(lake.low_days))}"
        )


def _joins(lake: LakeDescription) -> Iterator[str]:
    if not lake.joins.items_in_catalogue:
        yield "There is no catalogue: lists have no titles and no categories, and all items count as available"
    else:
        unmatched = 1 - lake.total("in_catalogue") / lake.events
        if unmatched > MAX_UNMATCHED_SHARE:
            yield f"{format_percent(unmatched)} of the events are of items in no catalogue"
    for kind in lake.types:
        without_price = 1 - kind.with_price / kind.events
        if kind.event == PURCHASE and without_price > MAX_UNMATCHED_SHARE:
            yield f"{format_percent(without_price)} of the {kind.event} events have no price"


def _frequent_users(lake: LakeDescription) -> Iterator[str]:
    users = [f"{user.user_id} ({format_percent(user.share)})" for user in lake.frequent_users[:MAX_EXAMPLES]]
    if users:
        yield (
            f"{count_noun(len(lake.frequent_users), 'user')} with more than {FREQUENT_SHARE:.0%} of the events: "
            f"{_examples(users, len(lake.frequent_users))}; one id for many people? (sources.null_ids)"
        )


def _examples(shown: list[str], total: int) -> str:
    return join_words(shown) if len(shown) == total else f"{', '.join(shown)} and {total - len(shown):,} more"
