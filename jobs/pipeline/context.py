"""The context that the steps of a run share; it skips work that a resumed run has already done."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import polars as pl

from jobs.lake.lake import Lake
from jobs.pipeline.run import Run
from jobs.progress import Progress
from recsys.settings import Settings
from recsys.store.publish.publish import PublishResult

WriteOutput = Callable[[Path], None]
"""Writes one output of a step to an empty directory."""


@dataclass(frozen=True)
class RunContext:
    """A run in progress; a step that changes what later steps read returns a changed copy."""

    run: Run
    lake: Lake
    """The lake that the steps read; after the screen step, without the users it flagged."""
    settings: Settings
    """The configured settings; after the plan step with the windows that fit the history, and after the search step
    with the models and model settings that it chose."""
    progress: Progress
    is_measured: bool = True
    """Whether models are measured; after the plan step, False if the data do not suffice."""
    unscreened_lake: Lake | None = None
    """The lake with the flagged users; None if screening excludes nobody, by the settings."""
    flagged_users: Mapping[datetime, pl.Series] = field(default_factory=dict[datetime, pl.Series])
    """The users whom screening flags by the events before a moment; after the windows step, before each window.
    Empty if screening excludes nobody, by the settings."""
    winner: str | None = None
    """The model that users get their lists from, or `BLEND`; None before the evaluate step."""
    published: PublishResult | None = None
    """None before the publish step."""

    def lake_as_of(self, *moments: datetime) -> Lake:
        """Return the lake without the users who were flagged by the events before any of the moments.

        Between two cuts, those flagged by the next one count: who learns from the time before a cut knows them.
        """
        cuts = sorted(self.flagged_users)
        nearest = {next((cut for cut in cuts if cut >= moment), cuts[-1]) for moment in moments} if cuts else set()
        flagged = [self.flagged_users[cut] for cut in sorted(nearest) if len(self.flagged_users[cut])]
        lake = self.unscreened_lake or self.lake
        return lake.excluding(pl.concat(flagged).unique().sort()) if flagged else lake

    def write_outputs(self, outputs: Mapping[str, WriteOutput], task: str | None = None) -> None:
        """Write the outputs that the run does not have yet, in order.

        `task` describes them as one piece of work. No step decides by itself whether it is done.
        """
        written = self.run.manifest()["steps"]
        missing = {name: write for name, write in outputs.items() if name not in written}
        if not missing:
            return
        with self.progress.task(task, len(missing)) if task else nullcontext() as shown_task:
            for name, write in missing.items():
                self.run.write_step(name, write)
                if shown_task is not None:
                    shown_task.advance(1)
