"""The ranker on hand-made shops."""

from tests.conformance.expectations import Expectations

CONFORMANCE = Expectations(needs_repeats=True, predicts_new_items=False, ranks_after_exclusion=True)
