"""The features step: every table of `features`, written one by one."""

from pathlib import Path

from features.tables import feature_tables
from jobs.lake import Lake
from jobs.progress import Progress
from jobs.run import Run
from recsys.settings import Settings

FEATURES = "features"


def write_features(run: Run, lake: Lake, settings: Settings, progress: Progress) -> None:
    """Compute and write the feature tables at the run's `as_of`, as one step."""

    def write(directory: Path) -> None:
        progress.start("compute features")
        buckets = [lake.events(bucket) for bucket in range(lake.buckets)]
        sources = settings.sources
        for name, table in feature_tables(
            buckets, lake.items(), lake.users(), run.as_of, sources.half_life_days, sources.event_weights
        ):
            table.sink_parquet(directory / f"{name}.parquet", mkdir=True)
            progress.advance(1)
        progress.done()

    run.step(FEATURES, write)
