"""Patterns of names with wildcards, as regular expressions."""

import re
from collections.abc import Iterable
from typing import Final

WILDCARDS: Final = {"*": ".*", "?": "."}


def regular_expression(patterns: Iterable[str]) -> str:
    """Return a regular expression, in the syntax of `re` and of Polars, of whole names that match a pattern.

    In a pattern `*` is any text and `?` one character; upper and lower case are the same.

    >>> bool(re.search(regular_expression(["gift card*", "POST"]), "Gift card 20"))
    True
    """
    each = ("".join(WILDCARDS.get(character, re.escape(character)) for character in text) for text in patterns)
    return f"(?is)^(?:{'|'.join(each)})$"
