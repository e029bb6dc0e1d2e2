"""The report's section on screening: flagged users, reasons, and the most suspicious users."""

import polars as pl

from jobs.pipeline.run import Run
from jobs.pipeline.steps.compare_unscreened import read_comparison
from jobs.pipeline.steps.screen import read_screen_summary, read_screened
from recsys.anomaly.label_classifier import FOLDS, MIN_LABELS
from recsys.evaluation.report.contents import ScreeningSummary, Suspect
from recsys.schema import EVENTS, FLAGGED, REASONS, SCORE, SOURCE, USER_ID
from recsys.settings import Settings

TOP_REASONS = 10
SUSPECTS = 20

_REASON = "reason"
_USERS = "users"


def summarize_screening(run: Run, settings: Settings) -> ScreeningSummary | None:
    """Summarize the screening of a run and its effect; None if screening is off."""
    if settings.anomalies.nightly == "off":
        return None
    summary, reported = read_screen_summary(run), read_screened(run)
    return ScreeningSummary(
        shadow=summary.mode == "shadow",
        users=summary.users,
        events=summary.events,
        screened_users=summary.screened_users,
        screened_events=summary.screened_events,
        by_origin={**summary.by_origin},
        reasons=top_reasons(reported.filter(FLAGGED)),
        suspects=_to_suspects(
            reported.sort(SCORE, FLAGGED, USER_ID, descending=[True, True, False]).head(SUSPECTS)
        ),
        bots=summary.bots,
        fine=summary.fine,
        has_labeled_detector=summary.bots + summary.fine >= MIN_LABELS and min(summary.bots, summary.fine) >= FOLDS,
        min_labels=MIN_LABELS,
        comparison=read_comparison(run),
    )


def top_reasons(users: pl.DataFrame) -> tuple[tuple[str, int], ...]:
    """Count users by reason, cut at the colon, the most frequent reasons first."""
    kind = pl.col(REASONS).str.split(":").list.first().alias(_REASON)
    kinds = users.select(USER_ID, REASONS).explode(REASONS).drop_nulls().select(USER_ID, kind).unique()
    counts = kinds.group_by(_REASON).agg(pl.len().alias(_USERS)).sort(_USERS, _REASON, descending=[True, False])
    return tuple(counts.head(TOP_REASONS).rows())


def find_suspect(run: Run, user_id: str) -> Suspect | None:
    """Read a run's report of a user, by the id in the lake; None if the run does not report the user."""
    return next(iter(_to_suspects(read_screened(run).filter(pl.col(USER_ID) == user_id))), None)


def _to_suspects(users: pl.DataFrame) -> tuple[Suspect, ...]:
    rows = users.select(USER_ID, SCORE, FLAGGED, SOURCE, EVENTS, REASONS).rows()
    return tuple(
        Suspect(user, score, flagged, origin, events, tuple(reasons))
        for user, score, flagged, origin, events, reasons in rows
    )
