"""Attributes of items: the type of each, told from all its values, and the values that requests filter by."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from recsys.attributes import (
    AttributeType,
    AttributeValue,
    as_boolean,
    as_number,
    as_text,
    convert_value,
    encode_member,
    read_attributes,
)
from recsys.schema import ATTRIBUTES

MAX_FILTERED: Final = 100
"""Attributes that requests can filter by: those of the most items."""
MAX_COUNTED: Final = 1_000
"""Attributes that are counted; names that come later are left out."""
MAX_VALUES: Final = 10_000
"""Different values of an attribute; one with more, such as a serial number, tells items apart and is no filter."""
MAX_NAME_LENGTH: Final = 100
TOP_VALUES: Final = 5


@dataclass(frozen=True)
class Attribute:
    """An attribute of the items of a catalogue."""

    name: str
    type: AttributeType
    """`boolean` or `number` if all values are, or are texts that say so; else `text`."""
    items: int
    """Items with a value."""
    values: int
    """Different values; `MAX_VALUES` + 1 stands for any greater number."""
    top_values: tuple[tuple[str, int], ...]
    """The most frequent values as text, and their items; none if there are more than `MAX_VALUES`."""

    @property
    def is_filter(self) -> bool:
        """Return whether requests can filter by it: it has few enough values, and a name without a colon."""
        return 0 < self.values <= MAX_VALUES and ":" not in self.name and len(self.name) <= MAX_NAME_LENGTH


@dataclass
class _Counts:
    """Counts of the values of one attribute."""

    items: int = 0
    values: int = 0
    booleans: int = 0
    numbers: int = 0
    items_by_text: Counter[str] = field(default_factory=Counter[str])

    def add(self, scalars: Sequence[AttributeValue]) -> None:
        """Count the values of one item."""
        self.items += 1
        for scalar in scalars:
            self.values += 1
            self.booleans += as_boolean(scalar) is not None
            self.numbers += as_number(scalar) is not None
        for text in {as_text(scalar) for scalar in scalars}:
            if text in self.items_by_text or len(self.items_by_text) <= MAX_VALUES:
                self.items_by_text[text] += 1

    def attribute(self, name: str) -> Attribute:
        """Return what the counts say of the attribute."""
        kind: AttributeType = "text"
        if self.booleans == self.values:
            kind = "boolean"
        elif self.numbers == self.values:
            kind = "number"
        items_by_text = Counter[str]()
        for text, items in self.items_by_text.items():
            value = convert_value(text, kind)
            items_by_text[text if value is None else as_text(value)] += items
        different = len(items_by_text)
        ordered = sorted(items_by_text.items(), key=lambda entry: (-entry[1], entry[0]))[:TOP_VALUES]
        return Attribute(name, kind, self.items, different, tuple(ordered) if different <= MAX_VALUES else ())


def find_attributes(texts: Iterable[str | None]) -> tuple[Attribute, ...]:
    """Return the attributes of items, given their JSON objects; those of the most items first, then by name.

    A list is several values; a value that is null, empty or an object counts as missing.
    """
    counts: dict[str, _Counts] = {}
    for text in texts:
        for name, scalars in read_attributes(text):
            if name in counts or len(counts) < MAX_COUNTED:
                counts.setdefault(name, _Counts()).add(scalars)
    attributes = (each.attribute(name) for name, each in counts.items())
    return tuple(sorted(attributes, key=lambda attribute: (-attribute.items, attribute.name)))


def attribute_members(texts: pl.Series) -> pl.Series:
    """Return the attributes of each item that requests can filter by, as `recsys.store.catalogue` holds them."""
    filters = [attribute for attribute in find_attributes(texts) if attribute.is_filter][:MAX_FILTERED]
    types: dict[str, AttributeType] = {attribute.name: attribute.type for attribute in filters}
    members = [list(_members(text, types)) or None for text in texts]
    return pl.Series(ATTRIBUTES, members, dtype=pl.List(pl.String))


def _members(text: str | None, types: dict[str, AttributeType]) -> Iterator[str]:
    for name, scalars in read_attributes(text):
        if name in types:
            values = dict.fromkeys(convert_value(scalar, types[name]) for scalar in scalars)
            yield from (encode_member(name, value) for value in values if value is not None)
