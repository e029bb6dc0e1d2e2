"""The report's sentences about categories that are proposed for items without one."""

from recsys.evaluation.metrics.classification import CategoryMeasurement
from recsys.evaluation.report.contents import CategorySummary
from recsys.evaluation.report.formatting import count_noun, format_integer, format_percent, join_words

# Expected calibration errors up to which the confidence is called well and acceptably calibrated.
MAX_SMALL_ERROR = 0.02
MAX_ACCEPTABLE_ERROR = 0.05


def categories_sentence(categories: CategorySummary) -> str:
    """State how many items have no category and how many of them get a proposal."""
    missing = f"{count_noun(categories.items_without, 'item')} without a category"
    verb = "is" if categories.items_without == 1 else "are"
    if categories.skipped is not None:
        return f"There {verb} {missing}. No category is proposed: {categories.skipped}."
    threshold = format_percent(categories.least_confidence)
    if categories.proposed == 0:
        result = f"No proposal reaches the confidence threshold of {threshold}."
    else:
        result = (
            f"A category is proposed for {format_integer(categories.proposed)} of them: the deepest level of the "
            f"category tree whose confidence is at least {threshold}."
        )
    return (
        f"There {verb} {missing}. {format_integer(categories.with_events)} of them have events, which the "
        f"classifier needs. {result}"
    )


def accuracy_sentence(measured: CategoryMeasurement) -> str:
    """State the accuracy on held-out items for each level, beside two baselines."""
    levels = [
        f"{format_percent(level.accuracy)} on level {level.level} (baselines: "
        f"{format_percent(level.most_frequent_accuracy)} for the most frequent category, "
        f"{format_percent(level.propagation_accuracy)} for label propagation)"
        for level in measured.levels
    ]
    return (
        f"The categories of {count_noun(measured.measured_on, 'item')} were held out for testing. The accuracy "
        f"over all of them, without a confidence threshold, is {join_words(levels)}."
    )


def calibration_sentence(measured: CategoryMeasurement) -> str:
    """State the expected calibration error of the least calibrated level, and how to use the confidence."""
    worst = max(measured.levels, key=lambda level: level.calibration_error)
    error = worst.calibration_error
    verdict = (
        "the confidence is well calibrated"
        if error <= MAX_SMALL_ERROR
        else "the confidence is acceptably calibrated"
        if error <= MAX_ACCEPTABLE_ERROR
        else "the confidence is poorly calibrated and should be used with care"
    )
    where = f" on level {worst.level}, the least calibrated level" if len(measured.levels) > 1 else ""
    return f"The expected difference between confidence and accuracy is {format_percent(error)}{where}: {verdict}."
