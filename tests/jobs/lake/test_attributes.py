"""The attributes of a catalogue: their types, and their values by which requests filter."""

import polars as pl

from jobs.lake.attributes import MAX_VALUES, Attribute, attribute_members, find_attributes

OBJECTS = (
    '{"color":"red","volume":0.5,"organic":true,"sizes":["S","M"],"width":"38","code":"007"}',
    '{"color":["red"," blue "],"volume":2,"organic":"False","width":"39.5","code":1,"empty":null,"parts":{"a":1}}',
    '{"volume":2.0,"sizes":[],"color":""}',
    None,
    "no JSON",
    "[1]",
)


def test_the_type_of_an_attribute_is_that_of_all_its_values() -> None:
    assert find_attributes(OBJECTS) == (
        Attribute("volume", "number", 3, 2, (("2", 2), ("0.5", 1))),
        Attribute("code", "text", 2, 2, (("007", 1), ("1", 1))),
        Attribute("color", "text", 2, 2, (("red", 2), ("blue", 1))),
        Attribute("organic", "boolean", 2, 2, (("false", 1), ("true", 1))),
        Attribute("width", "number", 2, 2, (("38", 1), ("39.5", 1))),
        Attribute("sizes", "text", 1, 2, (("M", 1), ("S", 1))),
    )


def test_values_are_members_of_an_object_in_the_type_of_the_attribute() -> None:
    first = ['"color":"red"', '"volume":0.5', '"organic":true', '"sizes":"S"', '"sizes":"M"', '"width":38.0']
    second = ['"color":"red"', '"color":"blue"', '"volume":2.0', '"organic":false', '"width":39.5', '"code":"1"']
    members = attribute_members(pl.Series(OBJECTS, dtype=pl.String)).to_list()
    assert members == [[*first, '"code":"007"'], second, ['"volume":2.0'], None, None, None]


def test_what_tells_items_apart_is_no_filter() -> None:
    objects = [
        f'{{"serial":"s{number}","kind":"a","a:b":1,"story":"{"x" * 201}"}}' for number in range(MAX_VALUES + 1)
    ]
    filters = {attribute.name for attribute in find_attributes(objects) if attribute.is_filter}
    assert filters == {"kind"}
    assert attribute_members(pl.Series(objects[:2]))[0].to_list() == ['"serial":"s0"', '"kind":"a"']
