"""The outcome of one check of an installation."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check ended, from good to bad."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Check:
    """What was checked, how it ended, and in one line what was found and what to do."""

    name: str
    state: State
    message: str


def passed(name: str, message: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check(name, State.OK, message)


def doubtful(name: str, message: str) -> Check:
    """Return a check that found what may be wrong."""
    return Check(name, State.WARNING, message)


def failed(name: str, message: str) -> Check:
    """Return a check that found what has to be changed."""
    return Check(name, State.FAILED, message)
