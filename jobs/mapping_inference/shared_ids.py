"""Make the ids of tables fit together: those of the events with those of the catalogue and of the users."""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from jobs.ingest.times import as_texts
from jobs.mapping_inference.conclusions import Conclusion
from jobs.mapping_inference.sql import identifier
from jobs.mapping_inference.survey import survey
from recsys.schema import ITEM_ID, TITLE, USER_ID

MIN_UNIQUE = 0.5
"""Least share of different values in a column that may be the id of a catalogue or of users."""
MIN_KNOWN_ITEMS = 0.5
"""Share of the items of events that a catalogue has from which the events need not say what the items are."""


def with_shared_ids(conclusions: list[Conclusion]) -> list[Conclusion]:
    """Give tables of items and users the ids that the events have, where another of their columns holds them."""
    events = [each for each in conclusions if each.table.kind == "events" and not each.recipe]
    return [_with_shared_id(each, events) if not each.recipe else each for each in conclusions]


def _with_shared_id(conclusion: Conclusion, events: Sequence[Conclusion]) -> Conclusion:
    kind, sample = conclusion.table.kind, conclusion.sample
    key = ITEM_ID if kind == "items" else USER_ID
    if kind == "events" or any(each.sample.name == sample.name for each in events):
        return conclusion
    names = [each.table.columns[key] for each in events]
    known = [
        as_texts(e.sample.rows[name])
        for e, name in zip(events, names, strict=True)
        if name in e.sample.rows.columns
    ]
    columns = [name for name, profile in sample.profiles.items() if profile.distinct_share >= MIN_UNIQUE]
    if not known or not columns:
        return conclusion
    ids = pl.concat(known).unique().implode()
    shared = {name: as_texts(sample.rows[name]).unique().is_in(ids).sum() for name in columns}
    chosen = str(conclusion.table.columns[key])
    best = max(columns, key=lambda name: (shared[name], name == chosen))
    if shared[best] <= shared.get(chosen, 0):
        return conclusion
    reason = f"{shared[best]:,} of its values are in the events, {shared.get(chosen, 0):,} of {chosen}"
    others = {name: mapped for name, mapped in conclusion.table.columns.items() if name != key and mapped != best}
    title = others.get(TITLE)
    items = survey(sample, item=best, title=title if isinstance(title, str) else None).items
    return replace(
        conclusion,
        table=replace(conclusion.table, columns={key: best, **others}),
        reasons={**conclusion.reasons, key: reason},
        items=items if kind == "items" else None,
    )


def is_covered(items: Conclusion, conclusions: list[Conclusion]) -> bool:
    """Return whether a catalogue has most of the items that a table of events describes."""
    known = [each.items for each in conclusions if each.table.kind == "items" and each.items is not None]
    if not known or items.items is None or not items.items.height:
        return False
    own = items.items.select(ITEM_ID).unique()
    found = own.join(pl.concat(known).select(ITEM_ID).unique(), on=ITEM_ID, how="semi")
    return found.height >= MIN_KNOWN_ITEMS * own.height


def with_alike_ids(conclusions: list[Conclusion]) -> tuple[list[Conclusion], list[str]]:
    """Write the ids of items alike in all tables that are no recipe's: in capitals, without white space inside."""
    items = all_items(conclusions).select(ITEM_ID).unique()[ITEM_ID]
    different = items.n_unique() - items.str.to_uppercase().n_unique()
    spaced = int(items.str.contains(r"\s").sum())
    notes: list[str] = []
    if different:
        notes.append(f"ids of items that differ from others in case only: {different:,}; all are read in capitals")
    if spaced:
        notes.append(f"ids of items with white space inside: {spaced:,}; an underscore is read for it")
    changed = [_with_ids(each, bool(different), bool(spaced)) for each in conclusions]
    return changed, notes


def _with_ids(conclusion: Conclusion, is_upper: bool, is_spaced: bool) -> Conclusion:
    table = conclusion.table
    if table.kind == "users" or ITEM_ID not in table.columns:
        return conclusion
    item = table.columns[ITEM_ID]
    if is_upper and not conclusion.recipe and isinstance(item, str):
        table = replace(table, columns={**table.columns, ITEM_ID: f"UPPER({identifier(item)})"})
    if is_spaced and table.ids == "reject":
        table = replace(table, ids="underscore")
    items = conclusion.items
    if items is not None:
        text = pl.col(ITEM_ID).str.to_uppercase() if is_upper else pl.col(ITEM_ID)
        text = text.str.replace_all(r"\s+", "_") if is_spaced else text
        items = items.with_columns(text)
    return replace(conclusion, table=table, items=items)


def all_items(conclusions: Sequence[Conclusion]) -> pl.DataFrame:
    """Return the items of all tables, with titles and rows."""
    frames = [each.items for each in conclusions if each.items is not None]
    return (
        pl.concat(frames)
        if frames
        else pl.DataFrame(schema={ITEM_ID: pl.String, TITLE: pl.String, "rows": pl.UInt32})
    )
