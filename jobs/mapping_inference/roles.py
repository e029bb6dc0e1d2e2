"""Score which column of a table is which column of the contract, and choose the best assignment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from jobs.mapping_inference.names import best_entry, name_score
from jobs.mapping_inference.profiles import Profile
from jobs.mapping_inference.vocabulary import (
    BLOCKED_WORDS,
    COLUMN_NAMES,
    CURRENCY,
    EVENT_NAMES,
    IGNORED_EVENTS,
    NOT_SOLD,
    ORDER_ID,
    RETURNED,
    SOLD,
    STATUS,
    TIME_OF_DAY,
    TOTAL,
    split_names,
)
from recsys.schema import (
    AVAILABLE,
    BRAND,
    CATEGORY,
    CREATED_AT,
    EVENT,
    EVENT_ID,
    IP,
    ITEM_ID,
    PRICE,
    QUANTITY,
    SESSION_ID,
    STOCK,
    TEXT,
    TIMESTAMP,
    TITLE,
    USER_AGENT,
    USER_ID,
    VALID_FROM,
    VALID_UNTIL,
    VALUE,
)
from recsys.settings import Kind

MIN_SCORE = 0.35
"""Least score of a column that is taken without a question."""
MIN_GUESS = 0.1
"""Least score of a column that is proposed in a question."""
MAX_EVENT_NAMES = 60


@dataclass(frozen=True)
class Role:
    """How well a column fits one column of the contract: by its name, and by its values."""

    shape: Callable[[Profile], float]
    """What the values make of it, 0 to 1."""
    unnamed: float = 0.0
    """What a name counts that says nothing."""


@dataclass(frozen=True)
class Match:
    """A column that was chosen."""

    column: str
    score: float
    reason: str


def _identifiers(profile: Profile) -> float:
    shape = profile.ids * (1 - 0.5 * profile.fractions) * (1 - 0.5 * (profile.spaced > 0.5))
    return shape * (0.8 if profile.is_constant else 1.0)


def _repeated_identifiers(profile: Profile) -> float:
    return _identifiers(profile) * (1.0 if profile.distinct_share < 1 else 0.9)


def _amounts(profile: Profile) -> float:
    return profile.numbers * (profile.numbers >= 0.8) * (1.0 if profile.fractions else 0.85)


def _pieces(profile: Profile) -> float:
    return profile.numbers * (profile.numbers >= 0.8) * (1.0 if profile.fractions < 0.2 else 0.5)


def _times(profile: Profile) -> float:
    return profile.times.share * (profile.times.share >= 0.5) * (1.0 if profile.times.has_clock else 0.93)


def _times_of_day(profile: Profile) -> float:
    clocks = [value for value in profile.values if ":" in value]
    return 1.0 if clocks and profile.times.share < 0.5 else profile.whole * (profile.times.share < 0.5) * 0.8


def _texts(profile: Profile) -> float:
    return profile.letters * min(1.0, 0.7 + 0.1 * profile.words)


def _groups(profile: Profile) -> float:
    is_repeated = profile.distinct_share < 0.7 or profile.distinct <= 50
    return (0.4 + 0.6 * profile.letters) * (1.0 if is_repeated else 0.6) * (profile.words < 12)


def _event_names(profile: Profile) -> float:
    if not profile.values or len(profile.values) > MAX_EVENT_NAMES:
        return 0.0
    known = [name for name in profile.values if is_event_name(name)]
    rows = sum(profile.values[name] for name in known) / sum(profile.values.values())
    return 0.25 + 0.75 * (rows if profile.letters > 0.5 else 0.0)


def _states(profile: Profile) -> float:
    known = [value for value in profile.values if best_entry(value, {"state": f"{NOT_SOLD} {SOLD}"})]
    return 1.0 if known else 0.0


def _stars(profile: Profile) -> float:
    return profile.numbers * (profile.distinct <= 21)


def _flags(profile: Profile) -> float:
    return profile.booleans * (profile.booleans >= 0.9) * (profile.distinct <= 4)


def _addresses(profile: Profile) -> float:
    return 1.0 if any(value.count(".") == 3 or value.count(":") > 1 for value in list(profile.values)[:3]) else 0.5


ROLES: Mapping[str, Role] = {
    USER_ID: Role(_repeated_identifiers),
    ITEM_ID: Role(_identifiers),
    EVENT: Role(_event_names, unnamed=0.55),
    TIMESTAMP: Role(_times, unnamed=0.45),
    TIME_OF_DAY: Role(_times_of_day),
    PRICE: Role(_amounts),
    TOTAL: Role(_amounts),
    QUANTITY: Role(_pieces),
    VALUE: Role(_stars),
    SESSION_ID: Role(_identifiers),
    ORDER_ID: Role(_identifiers),
    EVENT_ID: Role(lambda profile: profile.ids * (profile.distinct_share == 1)),
    STATUS: Role(_states),
    RETURNED: Role(_flags),
    IP: Role(_addresses),
    USER_AGENT: Role(_texts),
    CURRENCY: Role(lambda profile: float(profile.letters > 0.9 and profile.distinct < 200)),
    TITLE: Role(_texts),
    CATEGORY: Role(_groups),
    BRAND: Role(_groups),
    TEXT: Role(lambda profile: profile.letters * (profile.words > 3)),
    AVAILABLE: Role(_flags),
    STOCK: Role(_pieces),
    VALID_FROM: Role(_times),
    VALID_UNTIL: Role(_times),
    CREATED_AT: Role(_times),
}
EVENT_ROLES = (
    USER_ID, ITEM_ID, EVENT, TIMESTAMP, TIME_OF_DAY, PRICE, TOTAL, QUANTITY, VALUE, SESSION_ID, ORDER_ID, EVENT_ID,
    STATUS, RETURNED, IP, USER_AGENT, CURRENCY, TITLE, CATEGORY, BRAND,
)  # fmt: skip
ITEM_ROLES = (
    ITEM_ID, TITLE, CATEGORY, BRAND, PRICE, TEXT, AVAILABLE, STOCK, VALID_FROM, VALID_UNTIL, CREATED_AT, CURRENCY,
)  # fmt: skip
ROLES_OF_KIND: Mapping[Kind, tuple[str, ...]] = {"events": EVENT_ROLES, "items": ITEM_ROLES, "users": (USER_ID,)}
NAMES = {role: split_names(names) for role, names in COLUMN_NAMES.items()}


def is_event_name(value: str) -> bool:
    """Return whether a value is the name of an event in the vocabulary."""
    return best_entry(value, EVENT_NAMES | {"ignored": IGNORED_EVENTS}) is not None


def role_score(role: str, profile: Profile, table: str) -> float:
    """Return how well a column fits a role, 0 to 1."""
    if not profile.filled:
        return 0.0
    named = name_score(profile.name, table, NAMES[role], BLOCKED_WORDS.get(role, ""))
    return max(named, ROLES[role].unnamed) * ROLES[role].shape(profile)


def assign(profiles: Mapping[str, Profile], table: str, kind: Kind) -> dict[str, Match]:
    """Return the best column for each role of a kind of table, so that the sum of the scores is the greatest."""
    roles, columns = ROLES_OF_KIND[kind], list(profiles)
    if not columns:
        return {}
    scores = np.array([[role_score(role, profiles[name], table) for name in columns] for role in roles])
    scores[scores < MIN_SCORE] = 0
    rows, positions = linear_sum_assignment(scores, maximize=True)
    return {
        roles[row]: _match(roles[row], profiles[columns[position]], float(scores[row, position]), table)
        for row, position in zip(rows, positions, strict=True)
        if scores[row, position] > 0
    }


def guesses(role: str, profiles: Mapping[str, Profile], taken: set[str]) -> list[str]:
    """Return the columns that may have a role by their values alone, the best one first."""
    shapes = {name: ROLES[role].shape(profile) for name, profile in profiles.items() if name not in taken}
    fitting = [name for name, shape in shapes.items() if shape > 0.5]
    return sorted(fitting, key=lambda name: (-shapes[name] * (1.5 - profiles[name].distinct_share), name))


def _match(role: str, profile: Profile, score: float, table: str) -> Match:
    named = name_score(profile.name, table, NAMES[role], BLOCKED_WORDS.get(role, ""))
    by = "by its name" if named >= MIN_SCORE else "by its values"
    return Match(profile.name, score, f"{by}, {_describe(role, profile)}")


def _describe(role: str, profile: Profile) -> str:
    """Return what the values of a column look like, for people."""
    if role in (TIMESTAMP, VALID_FROM, VALID_UNTIL, CREATED_AT):
        return f"{profile.times.share:.0%} are times" + (" without a zone" if profile.times.is_local else "")
    if role in (PRICE, TOTAL, QUANTITY, STOCK, VALUE):
        negative = f", {profile.negative:.1%} of them negative" if profile.negative else ""
        return f"{profile.numbers:.0%} are numbers{negative}"
    if role in (EVENT, STATUS, RETURNED, AVAILABLE, CURRENCY) and profile.values:
        shown = list(profile.values)
        return f"values {', '.join(shown[:4])}{', …' if len(shown) > 4 else ''}"
    given = "" if profile.filled > 0.999 else f", {profile.filled:.0%} of the rows have one"
    return f"{profile.distinct:,} {'value' if profile.distinct == 1 else 'values'} in the sample{given}"
