"""The attributes of the items of a catalogue, and which items meet conditions on them."""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from recsys.attributes import (
    AttributeType,
    AttributeValue,
    convert_value,
    decode_member,
    encode_member,
    read_attributes,
)
from serving.engine.labels import LabelLists, Mask
from serving.requests import AttributeCondition, InvalidValueError

COMPARISONS: Final[Mapping[str, Callable[[Any, float], Any]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
EXPECTED_VALUES: Final[Mapping[AttributeType, str]] = {
    "boolean": "true or false",
    "number": "a number, or >=, <=, > or < and a number",
    "text": "a text of its values, no comparison",
}
MAX_NAMED: Final = 20
"""Attributes that an error message names."""


class _Values:
    """The values of one attribute, and the code of each."""

    def __init__(self) -> None:
        self.codes: dict[AttributeValue, int] = {}
        self._types: set[type] = set()

    def add(self, value: AttributeValue, code: int) -> None:
        """Add a value with its code."""
        self.codes[value] = code
        self._types.add(type(value))

    @property
    def expected(self) -> str:
        """Return the description of a value for error messages."""
        return EXPECTED_VALUES[self.value_type]

    @property
    def value_type(self) -> AttributeType:
        """Return the type of all values."""
        if self._types == {bool}:
            return "boolean"
        return "number" if self._types == {float} else "text"

    def find(self, condition: AttributeCondition) -> AttributeValue | None:
        """Return the value that a condition names; None if it is no value of the attribute's type."""
        if self.value_type == "boolean":
            return BOOLEANS.get(condition.text.lower())
        if self.value_type == "number":
            return condition.number if condition.comparison is None else None
        return condition.text if condition.comparison is None or condition.text in self.codes else None

    def matching(self, conditions: Sequence[AttributeCondition]) -> list[int]:
        """Return the codes of the values that one of the conditions names, or that meet all comparisons."""
        named = [value for condition in conditions if (value := self.find(condition)) is not None]
        codes = [self.codes[value] for value in named if value in self.codes]
        bounds = [
            (COMPARISONS[condition.comparison], condition.number)
            for condition in conditions
            if condition.comparison is not None and condition.number is not None
        ]
        if bounds and self.value_type == "number":
            values = np.fromiter(self.codes, np.float64, len(self.codes))
            within = [compare(values, bound) for compare, bound in bounds]
            codes += np.fromiter(self.codes.values(), np.intp, len(values))[np.logical_and.reduce(within)].tolist()
        return codes


class AttributeIndex:
    """The attributes of the items, as pairs of an item and a value."""

    def __init__(self, column: pl.Series | None) -> None:
        """Build the index from the column of a catalogue; None for a catalogue without attributes."""
        self._members = LabelLists(pl.Series([], dtype=pl.List(pl.String)) if column is None else column)
        self._values: dict[str, _Values] = {}
        self._indexed = 0
        self._index_new()

    def check(self, conditions: Sequence[AttributeCondition]) -> None:
        """Raise `InvalidValueError` for a condition on an unknown attribute, or with a value of another type."""
        for condition in conditions:
            values = self._values.get(condition.name)
            if values is None:
                raise InvalidValueError("attribute", str(condition), self._expected_names())
            is_comparison = condition.comparison is not None and values.value_type == "number"
            if not is_comparison and values.find(condition) is None:
                raise InvalidValueError("attribute", str(condition), f"{condition.name}: {values.expected}")

    def mask(self, conditions: Sequence[AttributeCondition], count: int) -> Mask:
        """Return whether each of `count` items meets the conditions on every attribute they name.

        Of several values of one attribute, one is enough; comparisons of one attribute hold together.
        """
        mask = np.ones(count, bool)
        for name in dict.fromkeys(condition.name for condition in conditions):
            is_wanted = np.zeros(len(self._members.names), bool)
            if (values := self._values.get(name)) is not None:
                is_wanted[values.matching([each for each in conditions if each.name == name])] = True
            mask &= self._members.mask(is_wanted, count)
        return mask

    def put(self, texts: Mapping[int, str]) -> None:
        """Replace the attributes of some items, by row, with those of JSON objects.

        A value of another type than the attribute has is left out: the next version decides on one type for all.
        """
        self._members.put({row: list(self._encode(text)) for row, text in texts.items()})
        self._index_new()

    def _encode(self, text: str) -> Iterator[str]:
        for name, given in read_attributes(text):
            kind = self._values[name].value_type if name in self._values else None
            values = given if kind is None else [convert_value(value, kind) for value in given]
            yield from (encode_member(name, value) for value in dict.fromkeys(values) if value is not None)

    def column(self, count: int) -> pl.Series:
        """Return the attributes of `count` items as a column of a catalogue."""
        return self._members.column(count)

    def _index_new(self) -> None:
        names = self._members.names.names
        for code in range(self._indexed, len(names)):
            name, value = decode_member(names[code])
            self._values.setdefault(name, _Values()).add(value, code)
        self._indexed = len(names)

    def _expected_names(self) -> str:
        names = sorted(self._values)
        if not names:
            return "no attribute: the catalogue has none to filter by"
        more = f", … ({len(names)} in all)" if len(names) > MAX_NAMED else ""
        return f"name:value with one of the attributes {', '.join(names[:MAX_NAMED])}{more}"
