"""Attributes of items: the type of each, told from all its values, and the values that requests filter by."""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.attributes import (
    AttributeType,
    AttributeValue,
    as_boolean,
    as_number,
    as_text,
    convert_value,
    decode_scalars,
    encode_member,
    read_raw,
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
OTHERS: Final = b""
"""Stands for all further values of an attribute that has more than `MAX_VALUES`."""
MEMBERS: Final = pl.Schema({"code": pl.Int32, ATTRIBUTES: pl.List(pl.String)})


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


@dataclass(frozen=True)
class _ItemValues:
    """The attributes of items: the different values, as they are written, and which item has which."""

    values: list[tuple[str, list[AttributeValue]]]
    """Name of the attribute, and the values that stand there: several for a list, none for one that is missing."""
    rows: NDArray[np.int32]
    """Items, in order."""
    codes: NDArray[np.int32]
    """Place in `values` of a value of the item of `rows`."""

    @classmethod
    def read(cls, texts: Iterable[str | None]) -> "_ItemValues":
        """Read the JSON objects of items, and decode each different value once."""
        places: dict[str, dict[bytes, int]] = {}
        values: list[tuple[str, list[AttributeValue]]] = []
        rows, codes = array("i"), array("i")
        for row, text in enumerate(texts):
            for name, raw in read_raw(text):
                if name not in places and len(places) == MAX_COUNTED:
                    continue
                known = places.setdefault(name, {})
                key = bytes(raw)
                code = known.get(key)
                if code is None:
                    if len(known) > MAX_VALUES:
                        key = OTHERS
                    if (code := known.get(key)) is None:
                        code = known[key] = len(values)
                        values.append((name, decode_scalars(raw)))
                rows.append(row)
                codes.append(code)
        return cls(values, np.array(rows, np.int32), np.array(codes, np.int32))

    def attributes(self) -> tuple[Attribute, ...]:
        """Return the attributes, those of the most items first, then by name."""
        items = np.bincount(self.codes, minlength=len(self.values)).tolist()
        by_name: dict[str, list[tuple[list[AttributeValue], int]]] = {}
        for (name, scalars), count in zip(self.values, items, strict=True):
            if scalars:
                by_name.setdefault(name, []).append((scalars, count))
        attributes = (_describe(name, counted) for name, counted in by_name.items())
        return tuple(sorted(attributes, key=lambda attribute: (-attribute.items, attribute.name)))


def find_attributes(texts: Iterable[str | None]) -> tuple[Attribute, ...]:
    """Return the attributes of items, given their JSON objects; those of the most items first, then by name.

    A list is several values; a value that is null, empty or an object counts as missing.
    """
    return _ItemValues.read(texts).attributes()


def attribute_members(texts: pl.Series) -> pl.Series:
    """Return the attributes of each item that requests can filter by, as `recsys.store.catalogue` holds them."""
    given = _ItemValues.read(texts)
    filters = [attribute for attribute in given.attributes() if attribute.is_filter][:MAX_FILTERED]
    types: dict[str, AttributeType] = {attribute.name: attribute.type for attribute in filters}
    members = [_members(name, scalars, types[name]) if name in types else [] for name, scalars in given.values]
    written = pl.DataFrame({"code": range(len(members)), ATTRIBUTES: members}, schema=MEMBERS).explode(ATTRIBUTES)
    pairs = pl.DataFrame({"row": given.rows, "code": given.codes})
    lists = (
        pairs.join(written.drop_nulls(), on="code", maintain_order="left_right")
        .group_by("row", maintain_order=True)
        .agg(ATTRIBUTES)
    )
    every = pl.DataFrame({"row": np.arange(len(texts), dtype=np.int32)})
    return every.join(lists, on="row", how="left", maintain_order="left")[ATTRIBUTES]


def _describe(name: str, counted: Sequence[tuple[Sequence[AttributeValue], int]]) -> Attribute:
    """Return an attribute, given each of its values with the number of items."""
    kind: AttributeType = "text"
    scalars = [scalar for values, _ in counted for scalar in values]
    if all(as_boolean(scalar) is not None for scalar in scalars):
        kind = "boolean"
    elif all(as_number(scalar) is not None for scalar in scalars):
        kind = "number"
    items_by_text = Counter[str]()
    for values, items in counted:
        for text in {_text(scalar, kind) for scalar in values}:
            items_by_text[text] += items
    items, different = sum(items for _, items in counted), len(items_by_text)
    top = sorted(items_by_text.items(), key=lambda entry: (-entry[1], entry[0]))[:TOP_VALUES]
    return Attribute(
        name, kind, items, min(different, MAX_VALUES + 1), tuple(top) if different <= MAX_VALUES else ()
    )


def _members(name: str, scalars: Sequence[AttributeValue], kind: AttributeType) -> list[str]:
    values = dict.fromkeys(convert_value(scalar, kind) for scalar in scalars)
    return [encode_member(name, value) for value in values if value is not None]


def _text(scalar: AttributeValue, kind: AttributeType) -> str:
    value = convert_value(scalar, kind)
    return as_text(scalar if value is None else value)
