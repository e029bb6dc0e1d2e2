"""Data that the report step reads from the lake and the run."""

import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from jobs.ingest.ingest import ingest
from jobs.ingest.validation import read_quarantine
from jobs.lake.lake import Lake
from jobs.pipeline.run import list_runs
from jobs.pipeline.steps.example_lists import find_examples, find_new_example
from recsys.settings import Sources, load_settings
from tests.shop import AS_OF

Recsys = Callable[..., subprocess.CompletedProcess[str]]
WriteSettings = Callable[[str], Path]


def test_quarantined_rows_are_counted_by_their_day(tmp_path: Path) -> None:
    rows = [
        ("u", "i", "purchase", "2026-01-05T10:00:00", 1.0),
        ("u", "i", "purchase", "2026-01-05T11:00:00", -1.0),
        ("u", "i", "purchase", "2026-01-05T23:59:59", -2.0),
        ("u", "a b", "stolen", "2026-01-06T00:00:00", 1.0),
        ("u", "i", "purchase", "not a time", 1.0),
        ("u", "i", "purchase", "1970-01-01T00:00:00", 1.0),
    ]
    columns = ["user_id", "item_id", "event", "timestamp", "price"]
    source = tmp_path / "source"
    source.mkdir()
    pl.DataFrame(rows, schema=columns, orient="row").write_csv(source / "events.csv")
    pl.DataFrame({"item_id": ["i", "bad id"]}).write_csv(source / "items.csv")
    lake = Lake(tmp_path / "lake")
    ingest((str(source),), Sources(), lake, datetime(2026, 2, 1, tzinfo=UTC))

    result = read_quarantine(lake, date(2026, 1, 1), date(2026, 1, 31))
    assert result.per_day == (
        (date(2026, 1, 5), "price_is_an_amount", 2),
        (date(2026, 1, 6), "item_id_is_an_id", 1),
    )
    assert result.undated == 2
    later = read_quarantine(lake, date(2026, 1, 6), date(2026, 1, 31))
    assert (len(later.per_day), later.undated) == (1, 4)


def test_a_lake_without_quarantine(tmp_path: Path) -> None:
    result = read_quarantine(Lake(tmp_path / "lake"), date(2026, 1, 1), date(2026, 1, 2))
    assert (result.per_day, result.undated) == ((), 0)


def test_examples_are_of_every_segment(
    recsys: Recsys, write_settings: WriteSettings, shop: Path, data_directory: Path
) -> None:
    path = write_settings("exclude")
    few = pl.read_parquet(shop / "events.parquet").head(9)
    few.with_columns(user_id=pl.Series([f"light{row % 3}" for row in range(9)])).write_parquet(
        shop / "events_of_light_users.parquet"
    )
    assert recsys("--config", path, "ingest", shop).returncode == 0
    done = recsys("--config", path, "evaluate", "--as-of", AS_OF)
    assert done.returncode == 0, done.stderr
    settings = load_settings(path, {"RECSYS_DIRECTORY": str(data_directory)})
    run, lake = list_runs(data_directory)[0], Lake(data_directory / "lake")
    events = lake.events().collect()

    examples = find_examples(run, lake, settings, 9)
    assert [example.segment for example in examples] == ["light"] * 3 + ["heavy"] * 6
    assert len({example.user_id for example in examples}) == 9
    for example in examples:
        own = events.filter(pl.col("user_id") == example.user_id)
        assert (own.height < 5) == (example.segment == "light")
        assert example.source == run.manifest()["winner"]
        assert len(example.recommended) == 10
        assert example.recent[0].item_id == own.sort("timestamp")["item_id"][-1]
        assert not {item.item_id for item in example.recommended} & set(own.filter(event="purchase")["item_id"])
    named = examples[0].recommended[0]
    number = int(named.item_id.removeprefix("item"))
    assert named.title == f"Thing number {number}"
    assert named.category == f"{'food' if number % 2 else 'tools'}>shelf {number % 5}"

    assert len(find_examples(run, lake, settings, 2)) == 2
    assert len(find_examples(run, lake, settings, 1000)) == events["user_id"].n_unique()
    new = find_new_example(run, lake)
    popular = pl.read_parquet(run.directory / "lists" / "popular.parquet").filter(pl.col("name") == "popular")
    assert [item.item_id for item in new.recommended] == popular["items"][0].to_list()[:10]
    assert (new.segment, new.source, new.recent) == ("new", "popularity", ())

    page = (run.directory / "report" / "report.html").read_text()
    assert page.count("<article>") == 10
    assert page.count("New users <span") == 1
    assert "›" in page
