"""Rules of item changes beyond the types of their facts: ids that mean none, and a validity that has an end."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from recsys.schema import GROUP_ID, ITEM_ID, VALID_FROM, VALID_UNTIL
from recsys.settings.sources import Sources
from serving.engine.catalogue import Catalogue
from serving.engine.offers import is_ever_valid
from serving.intake.event_parsing import NO_ID
from serving.intake.items import ItemChange
from serving.requests import InvalidValueError

VALIDITY: Final = frozenset((VALID_FROM, VALID_UNTIL))


class ItemRules:
    """Checks changes of items by the shop's settings, and by what the catalogue says of the item."""

    def __init__(self, sources: Sources, catalogue: Callable[[], Catalogue | None]) -> None:
        """Take the texts that mean no id; `catalogue` returns the one that lists are made of."""
        self._null_ids = {name: sources.null_texts(name) for name in (ITEM_ID, GROUP_ID)}
        self._catalogue = catalogue

    def check(self, item_id: str, change: ItemChange) -> None:
        """Raise `InvalidValueError` for a change that breaks a rule."""
        facts: dict[str, Any] = msgspec.to_builtins(change)
        for name, text in ((ITEM_ID, item_id), (GROUP_ID, facts.get(GROUP_ID))):
            if text is not None and text.lower() in self._null_ids[name]:
                raise InvalidValueError(name, text, NO_ID)
        if not VALIDITY.isdisjoint(facts) and not self._is_ever_valid(item_id, facts):
            if VALID_UNTIL in facts:
                raise InvalidValueError(VALID_UNTIL, str(facts[VALID_UNTIL]), f"a time after {VALID_FROM}")
            expected = f"a time before {VALID_UNTIL}, which the item has; change both together"
            raise InvalidValueError(VALID_FROM, str(facts[VALID_FROM]), expected)

    def _is_ever_valid(self, item_id: str, facts: dict[str, Any]) -> bool:
        """Return whether an item is offered at any time once facts are put; what is not given stays as it is."""
        catalogue = self._catalogue()
        row = None if catalogue is None else catalogue.rows.get(item_id)
        return (
            is_ever_valid(facts) if catalogue is None or row is None else catalogue.offers.is_ever_valid(row, facts)
        )
