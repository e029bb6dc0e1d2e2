"""Conclude how a table of events is read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from jobs.ingest.nested import quote_paths
from jobs.ingest.times import DATE_AND_MS
from jobs.mapping_inference.conclusions import Conclusion
from jobs.mapping_inference.names import best_entry, best_noun, compact
from jobs.mapping_inference.profiles import Profile
from jobs.mapping_inference.questions import (
    NONE,
    Ask,
    constant_event_question,
    day_order_question,
    event_question,
    state_question,
)
from jobs.mapping_inference.roles import Match
from jobs.mapping_inference.samples import SourceSample
from jobs.mapping_inference.sql import identifier, literal, literals, number
from jobs.mapping_inference.survey import Survey, survey
from jobs.mapping_inference.vocabulary import (
    CURRENCY,
    EVENT_NAMES,
    IGNORED_EVENTS,
    NOT_SOLD,
    ORDER_ID,
    RETURNED,
    SOLD,
    STATUS,
    TABLE_EVENTS,
    TIME_OF_DAY,
    TOTAL,
    UNIT_WORDS,
)
from recsys.schema import (
    EVENT,
    EVENT_ID,
    IP,
    ITEM_ID,
    PRICE,
    PURCHASE,
    QUANTITY,
    RATING,
    REFUND,
    SESSION_ID,
    TIMESTAMP,
    TITLE,
    USER_AGENT,
    USER_ID,
    VALUE,
    VIEW,
)

FEW_MISSING = 0.01
"""Share of rows without an id up to which they are left to the quarantine."""
MIN_PRICED = 20
"""Least number of prices from which they are taken to be of a piece or of all pieces."""


@dataclass(frozen=True)
class EventColumns:
    """The columns of a table of events, and what all its rows have in them."""

    sample: SourceSample
    matches: Mapping[str, Match]
    survey: Survey

    def column(self, role: str) -> str | None:
        """Return the column of a role; None if there is none."""
        return self.matches[role].column if role in self.matches else None

    def profile(self, role: str) -> Profile:
        """Return the values of the column of a role."""
        return self.sample.profiles[self.matches[role].column]

    def negative(self, role: str) -> float:
        """Return the share of the rows in which the column of a role is below 0."""
        return self.survey.share_negative(self.matches[role].column)

    def number(self, role: str) -> str:
        """Return SQL for the column of a role that holds numbers."""
        name = self.matches[role].column
        return number(self.sample.profiles[name], self.sample.rows.schema[name] == pl.String)


def survey_events(sample: SourceSample, matches: Mapping[str, Match]) -> EventColumns:
    """Read all rows of a table of events for what its first rows cannot tell."""

    def columns(*roles: str) -> list[str]:
        return [matches[role].column for role in roles if role in matches]

    item, title = matches[ITEM_ID].column, matches[TITLE].column if TITLE in matches else None
    values, ids = columns(EVENT, STATUS, RETURNED), columns(USER_ID, SESSION_ID, ITEM_ID)
    numbers = {name: sample.profiles[name].separators for name in columns(QUANTITY, PRICE, TOTAL)}
    return EventColumns(sample, matches, survey(sample, values, ids, columns(TIMESTAMP), item, title, numbers))


def conclude_events(columns: EventColumns, ask: Ask) -> Conclusion:
    """Return how a table of events is read; asks for what its values cannot tell."""
    matches, table = columns.matches, columns.sample.table
    reasons = {role: match.reason for role, match in matches.items()}
    conditions: list[str] = []
    mapped: dict[str, Any] = {}
    user, user_reason, condition = _user(columns)
    mapped[USER_ID], reasons[USER_ID] = user, user_reason
    conditions += [condition] if condition else []
    mapped[ITEM_ID] = matches[ITEM_ID].column
    if columns.survey.share_missing(matches[ITEM_ID].column) > FEW_MISSING:
        conditions.append(_given(columns, ITEM_ID))
    event, event_reason, names, condition = _event(columns, ask)
    mapped[EVENT], reasons[EVENT] = event, event_reason
    conditions += [condition] if condition else []
    time, time_format, time_reason = _time(columns, ask)
    mapped[TIMESTAMP], reasons[TIMESTAMP] = time, time_reason
    mapped |= _amounts(columns, event, reasons)
    mapped |= {name: matches[name].column for name in (EVENT_ID, VALUE, IP, USER_AGENT) if name in matches}
    session = columns.column(SESSION_ID) or columns.column(ORDER_ID)
    if session is not None:
        mapped[SESSION_ID] = session
        reasons[SESSION_ID] = matches[SESSION_ID if SESSION_ID in matches else ORDER_ID].reason
    priced = [columns.profile(role) for role in (PRICE, TOTAL, QUANTITY) if role in matches]
    decimal, thousands = next((p.separators for p in priced if p.separators != (".", "")), (".", ""))
    where = " AND ".join(f"({each})" if " OR " in each and len(conditions) > 1 else each for each in conditions)
    result = replace(
        table,
        kind="events",
        columns=mapped,
        events=names,
        where=where or None,
        time_format=time_format,
        decimal=decimal,
        thousands=thousands,
        currency_column=columns.column(CURRENCY),
    )
    is_local = columns.profile(TIMESTAMP).times.is_local
    kept = {name: reason for name, reason in reasons.items() if name in mapped}
    kept["where"] = "rows that are no events of a user, or were not sold, are left out"
    return Conclusion(result, columns.sample, kept, columns.survey.items, is_local)


def _user(columns: EventColumns) -> tuple[str, str, str | None]:
    """Return the expression of the user, its reason, and the condition for rows that have one."""
    user, session = columns.column(USER_ID), columns.column(SESSION_ID)
    if user is None:
        assert session is not None
        return session, f"no column of users; each {session} is one", None
    reason = columns.matches[USER_ID].reason
    missing = columns.survey.share_missing(user)
    mapped = f"LOWER({identifier(user)})" if "mail" in user.lower() else user
    if missing <= FEW_MISSING:
        return mapped, reason, None
    if session is None:
        return mapped, f"{reason}; {missing:.0%} of the rows have none and are left out", _given(columns, USER_ID)
    anonymous = f"CONCAT('session-', {identifier(session)})"
    expression = f"CASE WHEN {_given(columns, USER_ID)} THEN {identifier(user)} ELSE {anonymous} END"
    return expression, f"{reason}; {missing:.0%} of the rows have none: their session stands for the user", None


def _given(columns: EventColumns, role: str) -> str:
    """Return the condition that a row has an id."""
    name = columns.matches[role].column
    nulls = sorted(columns.survey.nulls.get(name, ()))
    is_number = columns.sample.rows.schema[name].is_numeric()
    listed = f"({', '.join(nulls)})" if is_number else literals(nulls)
    given = f"{identifier(name)} IS NOT NULL"
    return f"{given} AND {identifier(name)} NOT IN {listed}" if nulls else given


def _event(columns: EventColumns, ask: Ask) -> tuple[str, str, dict[str, str], str | None]:
    """Return the expression of the event, its reason, the names of the shop's events, and a condition for rows."""
    if EVENT in columns.matches:
        return _named_events(columns, ask)
    constant, reason = _constant_event(columns, ask)
    if constant != PURCHASE:
        return literal(constant), reason, {}, None
    returned, returned_reason = _returned(columns)
    condition = None
    if STATUS in columns.matches:
        refunded, condition = _states(columns, ask)
        returned = returned or refunded
        reason = f"{reason}; orders that were not sold are left out" if condition else reason
    if returned is None:
        return literal(PURCHASE), reason, {}, condition
    event = f"CASE WHEN {returned} THEN {literal(REFUND)} ELSE {literal(PURCHASE)} END"
    return event, f"{reason}; {returned_reason or 'some states are returns'}", {}, condition


def _named_events(columns: EventColumns, ask: Ask) -> tuple[str, str, dict[str, str], str | None]:
    name = columns.matches[EVENT].column
    counts = columns.survey.values[name]
    names: dict[str, str] = {}
    for value, rows in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        event = best_entry(value, EVENT_NAMES)
        if event is None and compact(value) not in IGNORED_EVENTS.split():
            event = ask(event_question(columns.sample.name, name, value, rows))
        if event is not None and event != NONE:
            names[value] = event
    left_out = sorted(set(counts) - names.keys())
    condition = f"{identifier(name)} IN {literals(list(names))}" if left_out else None
    counted = ", ".join(f"{value} {counts[value]:,}" for value in names)
    reason = f"{counted}; left out: {', '.join(left_out[:5])}" if left_out else counted
    return name, reason, {value: event for value, event in names.items() if value != event}, condition


def _constant_event(columns: EventColumns, ask: Ask) -> tuple[str, str]:
    name = columns.sample.name
    if VALUE in columns.matches and not {QUANTITY, ORDER_ID} & columns.matches.keys():
        return RATING, f"no column of events; {columns.column(VALUE)} rates"
    by_name = best_noun(name, TABLE_EVENTS)
    if by_name is not None:
        return by_name, f"no column of events; {name!r} is a table of {by_name}s"
    sold = [columns.column(role) for role in (QUANTITY, ORDER_ID, TOTAL) if role in columns.matches]
    if sold:
        return PURCHASE, f"no column of events; {sold[0]} is of a purchase"
    return ask(constant_event_question(name, VIEW)), "no column of events; as answered"


def _returned(columns: EventColumns) -> tuple[str | None, str]:
    """Return the condition that a row is a return, and its reason."""
    if RETURNED in columns.matches:
        name = identifier(columns.matches[RETURNED].column)
        if columns.sample.rows.schema[columns.matches[RETURNED].column] == pl.Boolean:
            return name, f"{name} marks returns"
        truth = "('true', '1', 'yes', 'y', 't', 'ja', 'oui', 'si')"
        return f"LOWER(CAST({name} AS VARCHAR)) IN {truth}", f"{name} marks returns"
    for role in (QUANTITY, TOTAL, PRICE):
        if role in columns.matches and columns.negative(role):
            share = columns.negative(role)
            return (
                f"{columns.number(role)} < 0",
                f"{columns.column(role)} is negative in {share:.1%}, which are returns",
            )
    return None, ""


def _states(columns: EventColumns, ask: Ask) -> tuple[str | None, str | None]:
    """Return the condition of a return, and that of an order that counts, by the state of the order."""
    name = columns.matches[STATUS].column
    known = {PURCHASE: SOLD, REFUND: EVENT_NAMES[REFUND], NONE: NOT_SOLD}
    meanings: dict[str, str] = {}
    for value, rows in sorted(columns.survey.values[name].items(), key=lambda item: (-item[1], item[0])):
        meaning = best_entry(value, known) or ask(state_question(columns.sample.name, name, value, rows))
        meanings[value] = meaning
    refunds, unsold = ([value for value in meanings if meanings[value] == each] for each in (REFUND, NONE))
    returned = f"{identifier(name)} IN {literals(refunds)}" if refunds else None
    condition = None
    if unsold:
        condition = f"({identifier(name)} IS NULL OR {identifier(name)} NOT IN {literals(unsold)})"
    return returned, condition


def _time(columns: EventColumns, ask: Ask) -> tuple[str | list[str], str | None, str]:
    """Return the column or columns of the time, the setting of its format, and the reason."""
    column, times = columns.matches[TIMESTAMP].column, columns.profile(TIMESTAMP).times
    reason = columns.matches[TIMESTAMP].reason
    if TIME_OF_DAY in columns.matches and not times.has_clock:
        clock, name = columns.profile(TIME_OF_DAY), columns.matches[TIME_OF_DAY].column
        if _has_colons(columns.sample.rows[name]):
            return [column, name], times.time_format, f"{reason}, with the time of day in {name}"
        if clock.whole > 0.99:
            return [column, name], DATE_AND_MS, f"{reason}, with milliseconds in {name}"
    orders = columns.survey.day_orders
    if times.ambiguous_example is not None or orders:
        decided = next(iter(orders)) if len(orders) == 1 else None
        example = times.ambiguous_example or ""
        order = decided or ask(day_order_question(columns.sample.name, column, example))
        return column, order, f"{reason}, {order.replace('_', ' ')}"
    return column, times.time_format, reason


def _has_colons(values: pl.Series) -> bool:
    if isinstance(values.dtype, pl.Time | pl.Datetime):
        return True
    return values.dtype == pl.String and values.drop_nulls().head(100).str.contains(":").any()


def _amounts(columns: EventColumns, event: str, reasons: dict[str, str]) -> dict[str, str]:
    """Return the expressions of price and quantity; a negative quantity or price is that of a return."""
    mapped: dict[str, str] = {}
    matches = columns.matches
    if QUANTITY in matches:
        is_negative = columns.negative(QUANTITY) > 0
        mapped[QUANTITY] = f"ABS({columns.number(QUANTITY)})" if is_negative else matches[QUANTITY].column
    price = PRICE if PRICE in matches else TOTAL if TOTAL in matches else None
    if price is None:
        return mapped
    reasons[PRICE] = matches[price].reason
    if QUANTITY in matches and (price == TOTAL or _grows_with_quantity(columns)):
        pieces = columns.number(QUANTITY)
        mapped[PRICE] = f"CASE WHEN {pieces} <> 0 THEN ABS({columns.number(price)} / {pieces}) END"
        reasons[PRICE] += "; it is that of all pieces, and grows with their number"
    elif columns.negative(price) and event.startswith("CASE"):
        mapped[PRICE] = f"ABS({columns.number(price)})"
    else:
        mapped[PRICE] = matches[price].column
    return mapped


def _grows_with_quantity(columns: EventColumns) -> bool:
    """Return whether the price of an item is as many times its price for one piece as there are pieces."""
    if any(word in compact(columns.matches[PRICE].column) for word in UNIT_WORDS.split()):
        return False
    rows = columns.sample.rows
    price, pieces = (
        pl.sql_expr(quote_paths(columns.number(role), rows.columns)).cast(pl.Float64, strict=False).abs()
        for role in (PRICE, QUANTITY)
    )
    rows = rows.select(item=pl.col(columns.matches[ITEM_ID].column), price=price, pieces=pieces)
    rows = rows.filter(pl.col("price") > 0)
    single = rows.filter(pl.col("pieces") == 1).group_by("item").agg(pl.col("price").median().alias("single"))
    several = rows.filter(pl.col("pieces") > 1).join(single, on="item")
    if several.height < MIN_PRICED:
        return False
    ratio, pieces = pl.col("price") / pl.col("single"), pl.col("pieces")
    grows, stays = ((ratio / pieces - 1).abs() < 0.2).mean(), ((ratio - 1).abs() < 0.2).mean()
    shares = several.select(grows.alias("grows"), stays.alias("stays")).row(0)
    return bool(shares[0] > 0.5 and shares[0] > shares[1])
