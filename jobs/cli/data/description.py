"""Print the description of a lake, for `recsys lake describe`."""

from rich.markup import escape

from jobs.cli.render import console, make_table
from jobs.description.description import LATEST_DAYS, LakeDescription
from jobs.description.findings import find_unusual, has_times
from jobs.lake.attributes import MAX_VALUES
from recsys.evaluation.report.formatting import count_noun, format_percent

BARS = "▁▂▃▄▅▆▇█"
MAX_ATTRIBUTES = 30


def print_description(lake: LakeDescription) -> None:
    """Print the events, joins and sources as tables, and what is unusual."""
    console.print(f"Lake: {lake.events:,} events{_span(lake)}", soft_wrap=True)
    if lake.events:
        _print_types(lake)
        _print_hours(lake)
    _print_joins(lake)
    _print_attributes(lake)
    _print_sources(lake)
    findings = find_unusual(lake)
    console.print("To check:" if findings else "Nothing is unusual.")
    for finding in findings:
        console.print(f"- {escape(finding)}", soft_wrap=True)


def _span(lake: LakeDescription) -> str:
    if lake.first_day is None:
        return ""
    return f" from {lake.first_day} to {lake.last_day} ({count_noun(lake.days, 'day')}, {lake.time_zone})"


def _print_types(lake: LakeDescription) -> None:
    numbers = ("events", "a day", f"last {LATEST_DAYS} days", "with price", "in catalogue", "at midnight")
    table = make_table("Events", "type", right=numbers)
    for kind in lake.types:
        parts = (kind.with_price, kind.in_catalogue, kind.at_midnight)
        means = (f"{mean:,.1f}" for mean in (kind.per_day, kind.per_day_lately))
        table.add_row(
            escape(kind.event), f"{kind.events:,}", *means, *(_share(part, kind.events) for part in parts)
        )
    console.print(table)


def _print_hours(lake: LakeDescription) -> None:
    if has_times(lake):
        highest = max(lake.events_per_hour)
        bars = "".join(BARS[(len(BARS) - 1) * events // highest] for events in lake.events_per_hour)
        console.print(f"Events by hour, 0 to 23 ({lake.time_zone}): {bars}", soft_wrap=True)


def _print_joins(lake: LakeDescription) -> None:
    joins = lake.joins
    table = make_table("Users and items", "", right=("with events", "with facts", "both", "share"))
    users = (joins.users, joins.users_in_table, joins.users_with_attributes)
    items = (joins.items, joins.items_in_catalogue, joins.items_in_both)
    for name, counts in (("users", users), ("items", items)):
        table.add_row(name, *(f"{count:,}" for count in counts), _share(counts[2], counts[0]))
    console.print(table)
    share = _share(joins.items_with_price, joins.items_in_catalogue)
    console.print(f"Items of the catalogue with a price: {joins.items_with_price:,} ({share})")
    if joins.groups:
        variants, groups = count_noun(joins.variants, "variant"), count_noun(joins.groups, "group")
        console.print(f"Items of the catalogue in groups: {variants} of {groups}")


def _print_attributes(lake: LakeDescription) -> None:
    if not lake.attributes:
        return
    table = make_table(
        "Attributes of items", "attribute", "type", "most frequent values", right=("items", "values")
    )
    for attribute in lake.attributes[:MAX_ATTRIBUTES]:
        top = ", ".join(f"{value} ({items:,})" for value, items in attribute.top_values)
        values = f"{attribute.values:,}" if attribute.values <= MAX_VALUES else f"over {MAX_VALUES:,}"
        share = _share(attribute.items, lake.joins.items_in_catalogue)
        table.add_row(escape(attribute.name), attribute.type, escape(top), share, values)
    console.print(table)
    hidden = len(lake.attributes) - MAX_ATTRIBUTES
    if hidden > 0:
        console.print(f"{count_noun(hidden, 'attribute')} more: --json prints all")


def _print_sources(lake: LakeDescription) -> None:
    if lake.sources:
        table = make_table("Sources", "source", right=("rows", "accepted", "duplicates", "quarantined"))
        for source in lake.sources:
            numbers = (source.rows_read, source.accepted, source.duplicates, source.quarantined)
            table.add_row(escape(source.name), *(f"{number:,}" for number in numbers))
        console.print(table)


def _share(part: int, whole: int) -> str:
    return format_percent(part / whole) if whole else "none"
