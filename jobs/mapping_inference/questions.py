"""What only the shop can know."""

from collections.abc import Callable
from dataclasses import dataclass

from recsys.schema import CART, CLICK, PURCHASE, RATING, REFUND, VIEW

NONE = "none"


@dataclass(frozen=True)
class Question:
    """One question, with the answer that is taken if none is given."""

    text: str
    default: str
    choices: tuple[str, ...] = ()
    """The answers that are understood; any if empty."""
    problem: Callable[[str], str | None] = lambda _answer: None
    """What is wrong with an answer; None if nothing is."""


Ask = Callable[[Question], str]


def accept_default(question: Question) -> str:
    """Answer a question with its default."""
    return question.default


def time_zone_question(table: str, column: str, default: str, problem: Callable[[str], str | None]) -> Question:
    """Return the question for the time zone of times without an offset."""
    return Question(f"In which time zone are the times in {column} of {table}?", default, (), problem)


def day_order_question(table: str, column: str, example: str) -> Question:
    """Return the question for the order of day and month."""
    text = f"Is {example!r} in {column} of {table} written with the day or the month first?"
    return Question(text, "day_first", ("day_first", "month_first"))


def event_question(table: str, column: str, value: str, rows: int) -> Question:
    """Return the question for the meaning of a value of the column of events."""
    text = f"What does {column} = {value!r} in {table} mean ({rows:,} rows)? none leaves these rows out"
    return Question(text, NONE, (VIEW, CLICK, CART, PURCHASE, REFUND, RATING, NONE))


def state_question(table: str, column: str, value: str, rows: int) -> Question:
    """Return the question for the meaning of a state of an order."""
    text = f"Was an order in {table} with {column} = {value!r} sold ({rows:,} rows)? none leaves these rows out"
    return Question(text, PURCHASE, (PURCHASE, REFUND, NONE))


def constant_event_question(table: str, default: str) -> Question:
    """Return the question for the event that every row of a table is."""
    return Question(
        f"What did the users of {table} do with the items?", default, (VIEW, CLICK, CART, PURCHASE, RATING)
    )


def column_question(table: str, meaning: str, columns: list[str]) -> Question:
    """Return the question for the column that holds something."""
    text = f"Which column of {table} holds {meaning}? none leaves the table out"
    return Question(text, NONE, (*columns, NONE))
