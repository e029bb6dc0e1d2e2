"""Write SQL expressions over the columns of a source."""

import re

from jobs.ingest.nested import PATH_IN_SQL
from jobs.mapping_inference.profiles import Profile

PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
KEYWORDS = """all and any as asc between by case cast count date desc distinct else end exists false first from
    group having if in index interval is join key last left like limit max min not null on or order replace right
    select set sum table then time timestamp true type union update user value values when where year month day hour
    minute second"""


def identifier(name: str) -> str:
    """Return the name of a column as SQL has it: a path as it is, any other name quoted where it has to be."""
    if PLAIN.fullmatch(name) and name.lower() not in KEYWORDS.split():
        return name
    match = PATH_IN_SQL.fullmatch(name)
    return name if match is not None and match["path"] else '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def literals(texts: list[str]) -> str:
    """Return texts as the list of an SQL `IN`."""
    return f"({', '.join(map(literal, texts))})"


def number(profile: Profile, is_text: bool) -> str:
    """Return SQL for a column of numbers, which may be text with other separators."""
    name = identifier(profile.name)
    if not is_text:
        return name
    decimal, thousands = profile.separators
    plain = f"REPLACE({name}, {literal(thousands)}, '')" if thousands else name
    plain = f"REPLACE({plain}, {literal(decimal)}, '.')" if decimal != "." else plain
    return f"TRY_CAST({plain} AS DOUBLE)"
