"""What a run knows at the cuts of its windows: who was flagged by then, which events are hits, who is light."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jobs.lake.lake import Lake
from jobs.pipeline.context import RunContext
from jobs.pipeline.interactions import compute_interactions
from jobs.pipeline.run import open_run
from jobs.pipeline.steps.plan_measurement import find_relevant_events, plan_measurement
from jobs.pipeline.steps.screen import screen
from jobs.pipeline.steps.windows import prepare_screened_window, prepare_windows
from jobs.progress import LogProgress
from recsys.data.interactions import Interactions
from recsys.data.splits import TimeSplit, time_split
from recsys.schema import EVENT_DTYPES
from recsys.settings import Evaluation, Settings

AS_OF = datetime(2026, 3, 2, tzinfo=UTC)
START = AS_OF - timedelta(days=60)
WINDOW_DAYS = 14.0
SHOPPERS = 230
BURST = 300
EARLY, LATE = "early-bot", "late-bot"

Rows = list[tuple[str, str, str, datetime]]


def shoppers() -> Rows:
    """Purchases of shoppers, one every nine days, each of an item of the shopper's taste."""
    generator = np.random.default_rng(0)
    return [
        (f"user{user}", f"item{(user * 3 + generator.integers(8)) % 40}", "purchase",
         START + timedelta(days=float(day), seconds=int(generator.integers(80_000))))
        for user in range(SHOPPERS)
        for day in range(user % 9, 60, 9)
    ]  # fmt: skip


def burst(user: str, day: int) -> Rows:
    """Purchases of a bot, several a second."""
    start = START + timedelta(days=day, hours=3)
    return [
        (user, f"item{step % 40}", "purchase", start + timedelta(milliseconds=150 * step)) for step in range(BURST)
    ]


def visit(user: str, day: int) -> Rows:
    """Two ordinary purchases."""
    start = START + timedelta(days=day)
    return [(user, item, "purchase", start + timedelta(hours=hour)) for hour, item in ((1, "item1"), (9, "item2"))]


def fill(directory: Path, rows: Rows) -> Lake:
    lake = Lake(directory / "lake")
    events = pl.DataFrame(rows, ["user_id", "item_id", "event", "timestamp"], orient="row")
    numbered = events.with_columns(pl.int_range(pl.len()).cast(pl.String).alias("event_id"))
    with lake.locked():
        empty = pl.DataFrame(schema=EVENT_DTYPES)
        lake.add_online_events(pl.concat([empty, numbered], how="diagonal_relaxed").lazy())
    return lake


def settings_of(directory: Path, **evaluation: object) -> Settings:
    windows = Evaluation(validation_days=WINDOW_DAYS, test_days=WINDOW_DAYS, **evaluation)  # pyright: ignore[reportArgumentType]
    return Settings(directory=directory, models=("popularity",), evaluation=windows)


@contextmanager
def windows_of(directory: Path, rows: Rows) -> Iterator[tuple[RunContext, TimeSplit]]:
    """Take a run of a lake with the events through the windows step."""
    lake, settings = fill(directory, rows), settings_of(directory)
    with open_run(settings, lake, AS_OF) as run:
        context = RunContext(run, lake, settings, LogProgress())
        for step in (screen, plan_measurement, prepare_windows):
            context = step(context)
        yield context, time_split(AS_OF, context.settings.evaluation)


def content(interactions: Interactions) -> tuple[list[str], bytes, bytes]:
    """Return what models learn from."""
    return (
        interactions.users.values.to_list(),
        interactions.user_items.data.tobytes(),
        interactions.age_days.tobytes(),
    )


def test_who_attacks_after_a_cut_changes_nothing_before_it_and_who_did_before_is_left_out(tmp_path: Path):
    rows = [*shoppers(), *burst(EARLY, 10), *visit(LATE, 12)]
    with windows_of(tmp_path / "quiet", rows) as (context, split):
        quiet = content(
            compute_interactions(
                context.lake_as_of(split.validation_end), context.settings.sources, split.validation_end
            )
        )
        assert LATE not in set(context.flagged_users[AS_OF])
    with windows_of(tmp_path / "attacked", [*rows, *burst(LATE, 55)]) as (context, split):
        flagged = {moment: set(users) for moment, users in context.flagged_users.items()}
        assert flagged == {split.train_end: {EARLY}, split.validation_end: {EARLY}, AS_OF: {EARLY, LATE}}
        test = prepare_screened_window(context, split.validation_end, split.as_of)
        assert content(test.interactions) == quiet
        users = set(test.interactions.users.values)
        assert (LATE in users, EARLY in users) == (True, False)
        measured = set(test.interactions.users.ids(test.ground_truth.user_rows))
        assert LATE not in measured
        assert len(measured) > SHOPPERS / 2
        between = context.lake_as_of(split.train_end + timedelta(days=1)).events().collect()["user_id"]
        assert EARLY not in set(between)
        assert LATE in set(between)


def test_purchases_are_the_hits_of_a_shop_that_has_any(tmp_path: Path):
    views = [(user, item, "view", time) for user, item, _, time in visit("ann", 1)]
    settings = settings_of(tmp_path)
    only_views = fill(tmp_path / "views", views)
    both = fill(tmp_path / "both", [*views, *visit("bob", 2)])
    assert find_relevant_events(only_views, settings, AS_OF) == ()
    assert find_relevant_events(both, settings, AS_OF) == ("purchase",)
    assert find_relevant_events(both, settings, START + timedelta(days=2)) == ()
    named = settings_of(tmp_path, relevant_events=("view", "purchase"))
    assert find_relevant_events(both, named, AS_OF) == ("view", "purchase")


@pytest.mark.parametrize(
    ("evaluation", "expected"), [({}, 4), ({"light_user_share": 0.2}, 2), ({"light_user_events": 9}, 9)]
)
def test_light_users_are_a_share_of_those_who_are_measured(
    tmp_path: Path, evaluation: dict[str, float], expected: int
):
    # User n has n events before the window, for n from 1 to 5; one more user has no hit in it.
    rows = [
        (f"user{number}", f"item{event}", "purchase", START + timedelta(days=event))
        for number in range(1, 6)
        for event in range(number)
    ]
    rows += [(f"user{number}", "item9", "purchase", START + timedelta(days=40)) for number in range(1, 6)]
    rows += [(f"user{number}", "item8", "purchase", START + timedelta(days=50)) for number in range(1, 6)]
    lake = fill(tmp_path, [*rows, *visit("gone", 1)])
    settings = settings_of(tmp_path, **evaluation)
    with open_run(settings, lake, AS_OF) as run:
        context = RunContext(run, lake, settings, LogProgress())
        for step in (screen, plan_measurement, prepare_windows):
            context = step(context)
    assert context.settings.evaluation.light_user_events == expected
