"""The nightly run, from features over models and lists to publishing, each step resumed where it was left."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path

import structlog

from jobs.lake import open_lake
from jobs.pipeline.candidates import check_candidates
from jobs.pipeline.run import COMPLETE, Run, open_run
from jobs.pipeline.steps.categories import propose_categories
from jobs.pipeline.steps.compare_unscreened import compare_unscreened
from jobs.pipeline.steps.cross_validate import check_folds, cross_validate
from jobs.pipeline.steps.evaluate import evaluate
from jobs.pipeline.steps.features import write_features
from jobs.pipeline.steps.report import REPORT, REPORT_FILE, report
from jobs.pipeline.steps.screen import build_nightly_flags, screen
from jobs.pipeline.steps.search import search_in_run
from jobs.pipeline.steps.train import train, write_lists
from jobs.progress import Progress
from recsys.evaluation.comparison.measurement import check_metric
from recsys.settings import Settings
from recsys.store.client.connect import connect
from recsys.store.keys import Keys
from recsys.store.publish.blocks import count_lists
from recsys.store.publish.nightly_flags import replace_nightly_flags
from recsys.store.publish.publish import PublishResult, publish

log = structlog.get_logger(__name__)


class Until(IntEnum):
    """How far a run goes."""

    FEATURES = 1
    TRAIN = 2
    EVALUATE = 3
    PUBLISH = 4


@dataclass(frozen=True)
class RunResult:
    """What a run came to."""

    run: Run
    winner: str | None = None
    report: Path | None = None
    published: PublishResult | None = None


def advance_run(settings: Settings, as_of: datetime, until: Until, progress: Progress) -> RunResult:
    """Take the run of `as_of` from where it is to `until`; a complete run is only read.

    Nothing after `as_of` changes what it writes.
    """
    check_candidates(settings.models, settings)
    check_metric(settings.evaluation)
    lake = open_lake(settings)
    with open_run(settings, lake, as_of) as run:
        if run.manifest()["status"] == COMPLETE:
            return RunResult(run, run.manifest()["winner"], run.directory / REPORT / REPORT_FILE)
        whole, lake = lake, screen(run, lake, settings, progress)
        write_features(run, lake, settings, progress)
        if until == Until.FEATURES:
            return RunResult(run)
        check_folds(run, lake, settings)
        settings = search_in_run(run, lake, settings, progress)
        winner = evaluate(run, lake, settings, progress)
        run.update(winner=winner)
        train(run, lake, settings, winner, progress)
        propose_categories(run, lake, settings, progress)
        if until == Until.TRAIN:
            return RunResult(run, winner)
        write_lists(run, lake, settings, winner, progress)
        cross_validate(run, lake, settings, progress)
        compare_unscreened(run, lake, whole, settings, progress)
        written = report(run, lake, settings, winner)
        if until == Until.EVALUATE:
            return RunResult(run, winner, written)
        published = publish_run(run, settings, progress)
        run.record_step("publish", published.seconds)
        run.update(status=COMPLETE)
        return RunResult(run, winner, written, published)


def publish_run(run: Run, settings: Settings, progress: Progress) -> PublishResult:
    """Load the run's lists into Redis and make them live, and hold back the users who were screened out."""
    lists = run.directory / "lists"
    progress.start("publish lists", count_lists(lists))
    done = 0

    def advance(lists_done: int) -> None:
        nonlocal done
        progress.advance(lists_done - done)
        done = lists_done

    client = connect(settings.redis, settings.directory)
    keys = Keys(settings.redis.namespace)
    published = publish(
        client,
        keys,
        run.id,
        lists,
        settings.redis.keep_versions,
        advance,
        settings.redis.max_memory,
    )
    now = datetime.now(UTC)
    replace_nightly_flags(client, keys, build_nightly_flags(run, settings, now), now)
    progress.done()
    if published.cut_to is not None:
        log.warning("lists were cut to fit redis.max_memory", run=run.id, longest=published.cut_to)
    return published
