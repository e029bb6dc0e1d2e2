"""Conclude how tables of items and of users are read, and what a table of events says of its items."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jobs.mapping_inference.categories import conclude_category
from jobs.mapping_inference.conclusions import Conclusion
from jobs.mapping_inference.events import EventColumns
from jobs.mapping_inference.names import compact
from jobs.mapping_inference.roles import Match
from jobs.mapping_inference.samples import SourceSample
from jobs.mapping_inference.survey import survey
from jobs.mapping_inference.vocabulary import CURRENCY, USER_ATTRIBUTES
from recsys.schema import (
    ATTRIBUTES,
    AVAILABLE,
    BRAND,
    CREATED_AT,
    ITEM_ID,
    PRICE,
    STOCK,
    TEXT,
    TITLE,
    USER_ID,
    VALID_FROM,
    VALID_UNTIL,
)
from recsys.settings import Table

COPIED = (BRAND, TEXT, AVAILABLE, STOCK, VALID_FROM, VALID_UNTIL, CREATED_AT)
TIMES = (VALID_FROM, VALID_UNTIL, CREATED_AT)


def conclude_items(sample: SourceSample, matches: Mapping[str, Match]) -> Conclusion:
    """Return how a table of items is read."""
    title = matches[TITLE].column if TITLE in matches else None
    surveyed = survey(sample, item=matches[ITEM_ID].column, title=title)
    mapped: dict[str, Any] = {ITEM_ID: matches[ITEM_ID].column}
    mapped |= {name: matches[name].column for name in (TITLE, PRICE, *COPIED) if name in matches}
    category, list_separator = conclude_category(sample, matches)
    mapped |= category
    times = [sample.profiles[matches[name].column].times for name in TIMES if name in matches]
    separators = sample.profiles[matches[PRICE].column].separators if PRICE in matches else (".", "")
    table = replace(
        sample.table,
        kind="items",
        columns=mapped,
        category_list_separator=list_separator,
        decimal=separators[0],
        thousands=separators[1],
        time_format=next((time.time_format for time in times if time.time_format), None),
        currency_column=matches[CURRENCY].column if CURRENCY in matches else None,
    )
    return Conclusion(table, sample, _reasons(matches, mapped), surveyed.items, any(t.is_local for t in times))


def items_of_events(columns: EventColumns, events: Table) -> Conclusion | None:
    """Return the items table that reads titles, categories and brands from events; None if they have none."""
    sample, matches = columns.sample, columns.matches
    category, list_separator = conclude_category(sample, matches)
    mapped: dict[str, Any] = {ITEM_ID: matches[ITEM_ID].column}
    mapped |= {role: matches[role].column for role in (TITLE, BRAND) if role in matches} | category
    if len(mapped) == 1:
        return None
    where = None
    if PRICE in matches:
        mapped[PRICE] = events.columns[PRICE]
        where = f"{columns.number(PRICE)} > 0" if TITLE in matches else None
    name = f"{sample.name[:58]}_items"
    table = replace(
        events,
        name=name,
        kind="items",
        columns=mapped,
        events={},
        where=where,
        keep="last",
        category_list_separator=list_separator,
    )
    reasons = _reasons(matches, mapped) | {"keep": "the last row of an item says how it is now"}
    if where:
        reasons["where"] = "rows without a price are corrections, whose text is no title"
    return Conclusion(table, sample, reasons, columns.survey.items)


def conclude_users(sample: SourceSample, matches: Mapping[str, Match]) -> Conclusion:
    """Return how a table of users is read: the id, and columns that are known to describe groups of people."""
    user = matches[USER_ID].column
    attributes = [
        name
        for name, profile in sample.profiles.items()
        if name != user and profile.filled and _is_attribute(name) and profile.distinct_share < 1
    ]
    mapped: dict[str, Any] = {USER_ID: user} | ({ATTRIBUTES: attributes} if attributes else {})
    table = replace(sample.table, kind="users", columns=mapped)
    reasons = _reasons(matches, mapped) | ({ATTRIBUTES: "groups of people, by their names"} if attributes else {})
    return Conclusion(table, sample, reasons)


def _is_attribute(name: str) -> bool:
    return compact(name) in USER_ATTRIBUTES.split()


def _reasons(matches: Mapping[str, Match], mapped: Mapping[str, Any]) -> dict[str, str]:
    return {name: match.reason for name, match in matches.items() if name in mapped}
