"""The report's sentences about the second stage: its gain, and the features that it uses most."""

from typing import Final

from recsys.evaluation.report.contents import RankerSummary
from recsys.evaluation.report.formatting import (
    count_noun,
    format_metric,
    format_percent,
    join_words,
    metric_label,
)

NAMED_FEATURES: Final = 3


def ranker_sentence(ranker: RankerSummary, metric: str) -> str:
    """State what the second stage was trained on, its gain on the validation window, and if it is published."""
    if not ranker.windows:
        return f"The second stage was not trained: {ranker.rejected}."
    direction = "above" if ranker.gain >= 0 else "below"
    result = (
        f"On the validation window, its {metric_label(metric)} is {format_metric(abs(ranker.gain))} {direction} "
        "that of the best model without it"
    )
    trained = (
        f"The second stage ranks the candidates of {join_words(ranker.members)} by gradient boosted trees, trained "
        f"on {count_noun(ranker.windows, 'window')} before the validation window."
    )
    verdict = "so it is published" if ranker.rejected is None else f"so it is not published: {ranker.rejected}"
    return f"{trained} {result}, {verdict}."


def importance_sentence(ranker: RankerSummary) -> str:
    """Name the features that reduce the loss of the trees the most."""
    first = [
        f"{feature.name} ({format_percent(feature.importance)})" for feature in ranker.features[:NAMED_FEATURES]
    ]
    return f"Share of each feature in the gain of all splits. The largest: {join_words(first)}."
