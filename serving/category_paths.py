"""Category paths as requests write them: commas stand between several, and may be in names."""

from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from typing import Final

from recsys.schema import CATEGORY_SEPARATOR

COMMA: Final = ","


def split_paths(texts: Sequence[str], names: Collection[str]) -> list[str]:
    """Return the paths that texts name; `names` are those of the catalogue.

    A text that is no path of the catalogue is split at commas, into the longest parts that are one.
    """
    if not any(COMMA in text for text in texts):
        return list(texts)
    known = {level for name in names for level in _levels(name)}
    span = 1 + max((path.count(COMMA) for path in known), default=0)
    return list(dict.fromkeys(path for text in texts for path in _split(text, known, span)))


def _levels(name: str) -> Iterator[str]:
    """Yield a path and all paths above it."""
    return accumulate(name.split(CATEGORY_SEPARATOR), lambda path, level: path + CATEGORY_SEPARATOR + level)


def _split(text: str, known: Collection[str], span: int) -> Iterator[str]:
    """Yield the known paths of a text, each of which has at most `span` parts between commas."""
    parts = text.split(COMMA)
    start = 0
    while start < len(parts):
        ends = range(min(start + span, len(parts)), start, -1)
        joined = ((end, COMMA.join(parts[start:end]).strip()) for end in ends)
        start, path = next(((end, path) for end, path in joined if path in known), (start + 1, None))
        if path is not None:
            yield path
