"""Infer the tables of the settings from samples of a shop's files or database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from jobs.mapping_inference.conclusions import Conclusion, Unused
from jobs.mapping_inference.events import conclude_events, survey_events
from jobs.mapping_inference.facts import conclude_items, conclude_users, items_of_events
from jobs.mapping_inference.names import best_noun
from jobs.mapping_inference.not_goods import NotGoods, find_not_goods
from jobs.mapping_inference.questions import NONE, Ask, column_question
from jobs.mapping_inference.recipes import Recipe, conclude_by_recipe, find_recipe
from jobs.mapping_inference.roles import Match, assign, guesses
from jobs.mapping_inference.samples import SourceSample, views
from jobs.mapping_inference.shared_ids import all_items, is_covered, with_alike_ids, with_shared_ids
from jobs.mapping_inference.vocabulary import ORDER_ID, STATUS, TABLE_EVENTS, TABLE_KINDS, TOTAL
from recsys.schema import (
    AVAILABLE,
    BRAND,
    CATEGORY,
    EVENT,
    ITEM_ID,
    PRICE,
    QUANTITY,
    SESSION_ID,
    STOCK,
    TEXT,
    TIMESTAMP,
    TITLE,
    USER_ID,
    VALUE,
)
from recsys.settings import Kind

FACTS = (TITLE, CATEGORY, BRAND, TEXT, AVAILABLE, STOCK, PRICE)
MIN_UNIQUE = 0.5
"""Least share of different ids among the rows of a table of items or users."""
OF_EVENTS = {EVENT, QUANTITY, PRICE, TOTAL, VALUE, ORDER_ID, SESSION_ID, STATUS}
"""Roles of which a table of events has one, if it is worth asking for a column that it lacks."""
MEANINGS = {USER_ID: "the user or customer", ITEM_ID: "the item", TIMESTAMP: "the time of the event"}


@dataclass(frozen=True)
class Inference:
    """What was concluded from all samples."""

    conclusions: list[Conclusion]
    unused: list[Unused]
    not_goods: list[NotGoods] = field(default_factory=list[NotGoods])
    recipes: tuple[Recipe, ...] = ()
    """The recipes that some tables are taken from."""
    notes: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Candidate:
    """One way to read a sample: the kind of its rows, and the column of each role."""

    sample: SourceSample
    kind: Kind
    matches: Mapping[str, Match]
    score: float


def infer(
    samples: Sequence[SourceSample], ask: Ask, by_recipe: Sequence[tuple[Recipe, Conclusion]] = ()
) -> Inference:
    """Return how samples are read, after tables that are known by recipe; asks for what samples cannot tell."""
    conclusions = [conclusion for _, conclusion in by_recipe]
    unused: list[Unused] = []
    recipes = {recipe.name: recipe for recipe, _ in by_recipe}
    additional: list[Conclusion] = []
    for sample in samples:
        found = find_recipe(sample) if sample.table.query is None else None
        if found is not None:
            recipes[found[0].name] = found[0]
            conclusions += conclude_by_recipe(*found, sample, ask)
            continue
        candidate = best_candidate(sample) or _completed(sample, samples, ask)
        if isinstance(candidate, Unused):
            unused.append(candidate)
        elif candidate.kind == "events":
            columns = survey_events(candidate.sample, candidate.matches)
            conclusions.append(conclude_events(columns, ask))
            items = items_of_events(columns, conclusions[-1].table)
            additional += [items] if items is not None else []
        else:
            conclude = conclude_items if candidate.kind == "items" else conclude_users
            conclusions.append(conclude(candidate.sample, candidate.matches))
    conclusions = with_shared_ids(conclusions)
    conclusions += [each for each in additional if not is_covered(each, conclusions)]
    conclusions, notes = with_alike_ids(_with_distinct_names(conclusions))
    if not any(each.table.kind == "events" for each in conclusions):
        notes.append("no table of events was found: lists need at least one with users, items and times")
    return Inference(conclusions, unused, find_not_goods(all_items(conclusions)), tuple(recipes.values()), notes)


def best_candidate(sample: SourceSample) -> Candidate | None:
    """Return the best way to read a sample or a list in it; None if it is none of events, items and users."""
    found = [
        candidate
        for view in views(sample)
        for judge in (_as_events, _as_items, _as_users)
        if (candidate := judge(view)) is not None
    ]
    return max(found, key=lambda candidate: candidate.score, default=None)


def _as_events(sample: SourceSample) -> Candidate | None:
    matches = assign(sample.profiles, sample.name, "events")
    if not {ITEM_ID, TIMESTAMP} <= matches.keys() or not {USER_ID, SESSION_ID} & matches.keys():
        return None
    is_named = best_noun(sample.name, TABLE_EVENTS) is None and best_noun(sample.name, TABLE_KINDS) == "items"
    is_catalogue = is_named and not {EVENT, QUANTITY} & matches.keys()
    if is_catalogue and sample.profiles[matches[ITEM_ID].column].distinct_share == 1:
        return None
    required = [matches[role].score for role in (USER_ID, SESSION_ID, ITEM_ID, TIMESTAMP) if role in matches]
    named = 0.3 if best_noun(sample.name, TABLE_EVENTS) else 0.0
    return Candidate(sample, "events", matches, 1 + sum(required) / 3 + named + 0.1 * len(matches))


def _as_items(sample: SourceSample) -> Candidate | None:
    matches = assign(sample.profiles, sample.name, "items")
    facts = [role for role in FACTS if role in matches]
    if ITEM_ID not in matches or not facts:
        return None
    if sample.profiles[matches[ITEM_ID].column].distinct_share < MIN_UNIQUE:
        return None
    if best_noun(sample.name, TABLE_EVENTS) and ORDER_ID in assign(sample.profiles, sample.name, "events"):
        return None
    named = 0.5 if best_noun(sample.name, TABLE_KINDS) == "items" else 0.0
    is_user = best_noun(sample.name, TABLE_KINDS) == "users"
    score = matches[ITEM_ID].score + 0.1 * len(facts) + named
    return None if is_user else Candidate(sample, "items", matches, score)


def _as_users(sample: SourceSample) -> Candidate | None:
    matches = assign(sample.profiles, sample.name, "users")
    named = 0.5 if best_noun(sample.name, TABLE_KINDS) == "users" else 0.0
    if USER_ID not in matches or sample.profiles[matches[USER_ID].column].distinct_share < 0.9 or not named:
        return None
    return Candidate(sample, "users", matches, matches[USER_ID].score + named)


def _completed(sample: SourceSample, samples: Sequence[SourceSample], ask: Ask) -> Candidate | Unused:
    """Return the sample as events after asking for the one column that it lacks, or why it is not used."""
    if not sample.raw.height:
        return Unused(sample.name, "it has no rows")
    matches = assign(sample.profiles, sample.name, "events")
    has = {ITEM_ID: ITEM_ID in matches, TIMESTAMP: TIMESTAMP in matches}
    has[USER_ID] = USER_ID in matches or SESSION_ID in matches
    missing = [role for role in (USER_ID, ITEM_ID, TIMESTAMP) if not has[role]]
    lacks = ", ".join(MEANINGS[role] for role in missing)
    orders = matches[ORDER_ID].column if ORDER_ID in matches and ITEM_ID in matches else None
    header = next((other.name for other in samples if orders is not None and _has_orders(other, orders)), None)
    if header is not None:
        reason = f"its orders are in {header}, by {orders}; only tables of a database can be joined, such as SQLite"
        return Unused(sample.name, reason)
    if len(missing) != 1 or missing[0] == TIMESTAMP or not matches.keys() & OF_EVENTS:
        return Unused(sample.name, f"no column holds {lacks}")
    columns = guesses(missing[0], sample.profiles, {match.column for match in matches.values()})
    answer = ask(column_question(sample.name, MEANINGS[missing[0]], columns)) if columns else NONE
    if answer == NONE:
        return Unused(sample.name, f"no column holds {lacks}")
    return Candidate(sample, "events", {**matches, missing[0]: Match(answer, 1.0, "as answered")}, 1.0)


def _has_orders(sample: SourceSample, key: str) -> bool:
    """Return whether a table has orders with users and times, but no items, by a key."""
    matches = assign(sample.profiles, sample.name, "events")
    return key in sample.profiles and {USER_ID, TIMESTAMP} <= matches.keys() and ITEM_ID not in matches


def _with_distinct_names(conclusions: list[Conclusion]) -> list[Conclusion]:
    names: set[str] = set()
    renamed: list[Conclusion] = []
    for each in conclusions:
        base = each.table.name
        candidates = (base, *(f"{base[:60]}_{number}" for number in range(2, 1000)))
        name = next(candidate for candidate in candidates if candidate not in names)
        names.add(name)
        renamed.append(replace(each, table=replace(each.table, name=name)))
    return renamed
