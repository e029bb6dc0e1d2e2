"""Plain text of titles and descriptions that shops write in HTML."""

import html
import re
from typing import Final

MARKUP: Final = r"<(?:!--|/?[a-zA-Z][^<>]*>)|&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*);"
"""A regular expression of a tag, a comment or a character reference, in the syntax of `re` and of Polars."""
INLINE: Final = r"a|abbr|b|big|cite|code|em|font|i|mark|q|s|small|span|strong|sub|sup|tt|u"
"""Elements that can be a part of a word; any other one separates words."""
ATTRIBUTES: Final = r"""(?:[^<>"']|"[^"]*"|'[^']*')*"""
_HAS_MARKUP: Final = re.compile(MARKUP)
_INLINE_TAG: Final = re.compile(rf"</?(?:{INLINE})(?:\s{ATTRIBUTES})?/?>", re.IGNORECASE)
_OTHER_TAG: Final = re.compile(
    r"<!--.*?(?:-->|$)"
    r"|<(?P<hidden>script|style|template|head)\b[^<>]*>.*?(?:</(?P=hidden)\s*>|$)"
    rf"|</?[a-z]{ATTRIBUTES}>|</?[a-z][^<>]*>",
    re.IGNORECASE | re.DOTALL,
)


def plain_text(text: str) -> str:
    """Return text without tags, comments, scripts and character references; white space becomes single spaces.

    HTML that was escaped as a whole is read too. Text without markup is returned as it is.
    """
    for _ in range(2):
        if _HAS_MARKUP.search(text) is None:
            break
        text = html.unescape(_OTHER_TAG.sub(" ", _INLINE_TAG.sub("", text)))
        text = " ".join(text.split())
    return text
