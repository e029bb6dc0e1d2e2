"""A place where the engine keeps data of persons: how to find and how to erase them there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jobs.erasure.persons import Installation, Persons


@dataclass(frozen=True)
class Place:
    """A place; erasing, verifying and exporting all go through it."""

    name: str
    find: Callable[[Installation, Persons], Iterator[dict[str, Any]]]
    """Yields what is there of the persons, in values for JSON."""
    erase: Callable[[Installation, Persons], int]
    """Erases it; returns how much there was. Erasing again does nothing."""
