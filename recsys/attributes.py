"""Attributes of items: values of a JSON object, each a text, a number or a boolean, or a list of them."""

import re
from collections.abc import Iterator
from math import isfinite
from typing import Any, Final, Literal, cast

import msgspec

AttributeType = Literal["boolean", "number", "text"]
AttributeValue = str | float | bool

MAX_TEXT_LENGTH: Final = 200
"""Characters of a value; a longer text is a description."""
MAX_NUMBER: Final = 1 << 53
"""Numbers from here on are text, since not all of them are floats."""
NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?")
"""A number as text; `007` is a code."""
BOOLEANS: Final = {"true": True, "false": False}

_decode: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_member: Final = msgspec.json.Decoder(dict[str, AttributeValue]).decode


def read_attributes(text: str | None) -> Iterator[tuple[str, list[AttributeValue]]]:
    """Yield name and values of each attribute of an item that has a value, given its JSON object."""
    for name, raw in read_raw(text):
        if scalars := decode_scalars(raw):
            yield name, scalars


def read_raw(text: str | None) -> Iterator[tuple[str, msgspec.Raw]]:
    """Yield name and JSON of each attribute of an item, given its JSON object; none of a text that is no object."""
    if not text:
        return
    try:
        values = _decode(text)
    except msgspec.DecodeError:
        return
    yield from values.items()


def decode_scalars(raw: msgspec.Raw) -> list[AttributeValue]:
    """Return the values of an attribute, given its JSON; a list is several values.

    A value that is null, empty, an object or too long counts as missing.
    """
    value = msgspec.json.decode(raw)
    return [scalar for each in _listed(value) if (scalar := _scalar(each)) != ""]


def convert_value(value: AttributeValue, kind: AttributeType) -> AttributeValue | None:
    """Return a value as one of a type; None if it is none.

    >>> convert_value("0.5", "number"), convert_value("TRUE", "boolean"), convert_value(38.0, "text")
    (0.5, True, '38')
    """
    if kind == "boolean":
        return as_boolean(value)
    return as_number(value) if kind == "number" else as_text(value)


def as_boolean(value: AttributeValue) -> bool | None:
    """Return a value as a boolean; None if it is none."""
    if isinstance(value, bool):
        return value
    return BOOLEANS.get(value.lower()) if isinstance(value, str) else None


def as_number(value: AttributeValue) -> float | None:
    """Return a value as a number; None if it is none, or is a code such as `007`."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return float(value) if NUMBER.fullmatch(value) else None
    return float(value) if abs(value) < MAX_NUMBER and isfinite(value) else None


def as_text(value: AttributeValue) -> str:
    """Return a value as text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and abs(value) < MAX_NUMBER and value.is_integer():
        return str(int(value))
    return str(value)


def encode_member(name: str, value: AttributeValue) -> str:
    """Return an attribute with one value as the member of a JSON object.

    >>> encode_member("color", "red"), encode_member("volume", 0.5), encode_member("organic", True)
    ('"color":"red"', '"volume":0.5', '"organic":true')
    """
    return msgspec.json.encode({name: value}).decode()[1:-1]


def decode_member(member: str) -> tuple[str, AttributeValue]:
    """Return name and value of a member that `encode_member` wrote."""
    ((name, value),) = _decode_member(f"{{{member}}}").items()
    return name, value


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _scalar(value: Any) -> AttributeValue:
    """Return a JSON value, text without white space around it; empty text for one that counts as missing."""
    if isinstance(value, str):
        text = value.strip()
        return text if len(text) <= MAX_TEXT_LENGTH else ""
    return value if isinstance(value, bool | int | float) else ""
