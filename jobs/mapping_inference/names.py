"""Compare names of columns, tables and events with the vocabulary, whatever their style, case and accents."""

import re
import unicodedata
from collections.abc import Mapping

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\da-zA-Z_]+")
PLURALS = (("ies", "y"), ("sses", "ss"), ("en", "e"), ("s", ""))
CURRENCIES = frozenset(
    ("in", "eur", "euro", "euros", "usd", "gbp", "chf", "pln", "sek", "dkk", "nok", "czk", "cad", "aud")
)
"""Words at the end of the names of amounts that say in which currency they are."""
WHOLE, QUALIFIED, ENDING, BEGINNING = 1.0, 0.95, 0.7, 0.3


def words_of(name: str) -> list[str]:
    """Return the words of a name, in lower case and without accents.

    >>> words_of("CustomerID"), words_of("Prix unitaire (€)"), words_of("bestell_datum")
    (['customer', 'id'], ['prix', 'unitaire'], ['bestell', 'datum'])
    """
    plain = name.replace("ä", "ae").replace("ö", "oe").replace("ü", "ue").replace("ß", "ss")
    decomposed = unicodedata.normalize("NFKD", plain)
    letters = "".join(character for character in decomposed if not unicodedata.combining(character))
    return [word.lower() for word in WORD.findall(letters) if word.isalnum()]


def compact(name: str) -> str:
    """Return a name as the vocabulary writes it.

    >>> compact("Order Completed"), compact("add_to_cart")
    ('ordercompleted', 'addtocart')
    """
    return "".join(words_of(name))


def singular(word: str) -> str:
    """Return the singular of an English, German, French or Spanish plural, as far as its ending tells."""
    for ending, replacement in PLURALS:
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word.removesuffix(ending) + replacement
    return word


def nouns_of(table: str) -> list[str]:
    """Return the nouns that a table's name may stand for: its last words in the singular, the longest first.

    >>> nouns_of("wp_order_lines")
    ['wporderline', 'orderline', 'line']
    """
    words = [word for word in words_of(table) if not word.isdigit()]
    singulars = [singular(word) for word in words]
    return ["".join([*words[start:-1], singulars[-1]]) for start in range(len(words))]


def name_score(column: str, table: str, names: Mapping[str, float], blocked: str = "") -> float:
    """Return how well the name of a column fits one of `names`, 0 to 1; 0 if it has one of the `blocked` words.

    The whole name counts most; then the last names of a path with the table's noun before it, its last words, and
    its first words.
    """
    parts = column.split(".")
    if set(blocked.split()) & set(words_of(column)):
        return 0.0
    last = _without_currency(words_of(parts[-1]))
    path = [*words_of(parts[-2]), *last] if len(parts) > 1 else last
    wholes = {"".join(path), *([compact(column)] if len(parts) == 1 else [])}
    owners = nouns_of(table) if len(parts) == 1 else nouns_of(parts[-2])
    qualified = {noun + "".join(last) for noun in owners}
    endings = {"".join(last[start:]) for start in range(0 if len(parts) > 1 else 1, len(last))}
    beginnings = {"".join(last[:length]) for length in range(1, len(last))}
    return max(
        WHOLE * _best(wholes, names),
        QUALIFIED * _best(qualified, names),
        (QUALIFIED if len(parts) > 1 else 0) * _best({"".join(last)}, names),
        ENDING * _best(endings, names),
        BEGINNING * _best(beginnings, names),
    )


def best_entry(name: str, entries: Mapping[str, str]) -> str | None:
    """Return the key of the vocabulary that lists a name; None if none does."""
    written = compact(name)
    return next((key for key, names in entries.items() if written in names.split()), None)


def best_noun(table: str, entries: Mapping[str, str]) -> str | None:
    """Return the key of the vocabulary that lists a noun of a table's name, the longest noun first."""
    tails = [key for noun in nouns_of(table) if (key := best_entry(noun, entries)) is not None]
    return (
        tails[0]
        if tails
        else next(
            (key for word in words_of(table) if (key := best_entry(singular(word), entries)) is not None), None
        )
    )


def _without_currency(words: list[str]) -> list[str]:
    """Return words without a currency at their end, as of `Preis (EUR)`."""
    kept = len(words)
    while kept > 1 and words[kept - 1] in CURRENCIES:
        kept -= 1
    return words[:kept]


def _best(written: set[str], names: Mapping[str, float]) -> float:
    return max((names.get(name, 0.0) for name in written), default=0.0)
