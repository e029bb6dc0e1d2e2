"""What the report says in words of the categories that are proposed for items without one."""

from recsys.evaluation.metrics.classification import CategoryMeasurement
from recsys.evaluation.report.contents import CategorySummary
from recsys.evaluation.report.formatting import count, percent, several, whole

SMALL_GAP = 0.02  # of confidence and accuracy, that is called small
WIDE_GAP = 0.05


def categories_sentence(categories: CategorySummary) -> str:
    """How many items have no category, and how many of them get one proposed."""
    missing = f"{count(categories.items_without, 'item')} without a category"
    if categories.skipped is not None:
        return f"There {_are(categories.items_without)} {missing}; none is proposed: {categories.skipped}."
    if categories.proposed == 0:
        made = "None is sure enough for a proposal"
    else:
        made = f"A category is proposed for {whole(categories.proposed)} of them"
    return (
        f"There {_are(categories.items_without)} {missing}, {whole(categories.with_events)} of them with events, "
        f"from which one can be told. {made}, as deep in the tree as the confidence stays at "
        f"{percent(categories.least_confidence)} or above."
    )


def accuracy_sentence(measured: CategoryMeasurement) -> str:
    """How often the proposals are right where the category is known."""
    levels = [
        f"{percent(level.accuracy)} on level {level.level} ({percent(level.most_frequent_accuracy)} by always "
        f"naming the most frequent, {percent(level.propagation_accuracy)} by the labels of neighbours alone)"
        for level in measured.levels
    ]
    return (
        f"The categories of {count(measured.measured_on, 'item')} were held out. Naming a category for every one "
        f"of them would be right for {several(levels)}."
    )


def calibration_sentence(measured: CategoryMeasurement) -> str:
    """How far the confidence can be believed."""
    worst = max(measured.levels, key=lambda level: level.calibration_error)
    gap = worst.calibration_error
    verdict = (
        "it can be taken at its word"
        if gap <= SMALL_GAP
        else "it is about right"
        if gap <= WIDE_GAP
        else "it should be taken with care"
    )
    where = f"on level {worst.level}, where it is the furthest off, " if len(measured.levels) > 1 else ""
    return (
        f"The confidence is the share of proposals that should be right: {where}it differs from the share that is "
        f"by {percent(gap)} on average, so {verdict}."
    )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
