"""The report's sentences about lists to buy again, lists of new items, and the list of users without history."""

from typing import Final

from recsys.evaluation.report.formatting import count_noun, format_metric, join_words, metric_label
from recsys.evaluation.report.list_contents import ListPart, NewUsers
from recsys.evaluation.segments import MIN_RELIABLE_USERS

LIST_LABELS: Final = {
    "all_time": "the whole history, with decay",
    "last_28_days": "the last 28 days",
    "last_7_days": "the last 7 days",
    "trending": "growth (trending)",
}
PART_LABELS: Final = {"again": "Buy again", "new": "New for the user"}
ROLE_LABELS: Final = {
    "chosen": "as published",
    "winner": "in the order of the published lists",
    "baseline": {"again": "bought last, the latest first", "new": "popular items"},
}


def part_label(part: str, role: str) -> str:
    """Return what lists of a part are made by, for people."""
    label = ROLE_LABELS[role]
    return label if isinstance(label, str) else label[part]


def part_sentence(part: ListPart, metric: str) -> str:
    """State what a list is made by, and why."""
    name = PART_LABELS[part.name]
    users = count_noun(part.users, "user")
    if part.users < MIN_RELIABLE_USERS:
        return f"{name}: in the order of the published lists, as only {users} of the validation window can tell."
    direction = "above" if part.gain >= 0 else "below"
    result = (
        f"on the {users} of the validation window with a hit of this kind, the {metric_label(metric)} of the best "
        f"models of its own is {format_metric(abs(part.gain))} {direction} that of the published order"
    )
    if part.models:
        return f"{name}: by {join_words(part.models)}; {result}."
    return f"{name}: in the order of the published lists; {result}."


def new_users_sentence(new_users: NewUsers, metric: str) -> str:
    """State which popular list users without history get, and why."""
    chosen = f"Users without history get the items that are popular by {LIST_LABELS[new_users.chosen]}"
    users = count_noun(new_users.users, "new user")
    if new_users.users < MIN_RELIABLE_USERS:
        return f"{chosen}: the validation window has {users}, too few for a choice."
    best = max(new_users.validation, key=lambda name: new_users.validation[name][metric])
    values = f"{metric_label(metric)} {format_metric(new_users.validation[new_users.chosen][metric])}"
    sentence = f"{chosen}, by {users} of the validation window ({values})"
    if best == new_users.chosen:
        return f"{sentence}."
    return f"{sentence}; {LIST_LABELS[best]} is not better by the required gain."
