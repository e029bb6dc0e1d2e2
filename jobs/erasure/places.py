"""All places where the engine keeps data of persons.

A new place is added here, once: erasing, verifying and exporting go through this list. It has what was put there
under ids of persons. Counters of hashed addresses and devices, numbers of different users, and tables of items are
in no place; lists of all users learn of an erasure in the next night.
"""

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from jobs.erasure.lake_places import LAKE_PLACES
from jobs.erasure.persons import Installation, Persons
from jobs.erasure.place import Place
from jobs.erasure.redis_places import REDIS_PLACES
from jobs.erasure.run_places import RUN_PLACES

PLACES: Final[tuple[Place, ...]] = (*REDIS_PLACES, *LAKE_PLACES, *RUN_PLACES)
"""In the order of erasing."""
MAX_COUNTED: Final = 1_000_000


def count_places(installation: Installation, persons: Persons) -> dict[str, int]:
    """Count what each place has of persons, places with nothing left out."""
    counts = {place.name: _count(place, installation, persons) for place in PLACES}
    return {name: count for name, count in counts.items() if count}


def find_places(installation: Installation, persons: Persons) -> dict[str, list[dict[str, Any]]]:
    """Return what each place has of persons."""
    return {place.name: list(place.find(installation, persons)) for place in PLACES}


def erase_places(installation: Installation, persons: Persons, places: tuple[Place, ...] = PLACES) -> Counter[str]:
    """Erase persons from some places, in their order; return how much each had."""
    return Counter({place.name: place.erase(installation, persons) for place in places})


def highest_counts(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Return the higher count of each place, places with nothing left out."""
    names = dict.fromkeys((*one, *other))
    highest = {name: max(one.get(name, 0), other.get(name, 0)) for name in names}
    return {name: count for name, count in highest.items() if count}


def _count(place: Place, installation: Installation, persons: Persons) -> int:
    return sum(1 for _ in islice(place.find(installation, persons), MAX_COUNTED))
