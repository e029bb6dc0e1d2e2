"""Exports of all users: their formats, who is left out, and mistakes."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from features.registry import describe
from features.tables import feature_tables
from jobs.lake.lake import Lake
from jobs.lake.opt_outs import change_opt_outs
from jobs.pipeline.run import MANIFEST
from jobs.pipeline.step_names import FEATURES
from jobs.pipeline.steps.features import write_due_items, write_tables
from recsys.contract import Users
from recsys.files import write_json
from tests.jobs.conftest import Recsys
from tests.tables import make_events, make_items

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
IDS = ["=1+2", "@ann", "-7", "007", "zoë", "refused"]


@pytest.fixture
def run(data_directory: Path) -> Path:
    """A run of two buckets of users, of whom one has opted out since."""
    bought = [[(user, "tea", "purchase", "2024-02-22T10:00:00Z")] for user in IDS]
    buckets = [make_events([row for rows in part for row in rows]).lazy() for part in (bought[:3], bought[3:])]
    items = make_items(item_id=["tea"], category=[["Hot, drinks", 'The "best"']])
    users = pl.LazyFrame({"user_id": ["007"], "attributes": ["+1"]}, pl.Schema(Users))
    directory = data_directory / "runs" / "20240301T000000Z"
    for tables in feature_tables(buckets, items.lazy(), users, AS_OF, 30.0):
        write_tables(directory / FEATURES, tables)
    write_due_items(directory / FEATURES, items.lazy().head(0), AS_OF)
    write_json(directory / MANIFEST, {"as_of": AS_OF.isoformat(), "status": "complete", "steps": {FEATURES: {}}})
    lake = Lake(data_directory / "lake")
    with lake.locked():
        change_opt_outs(lake.directory, [("refused", AS_OF, True)])
    return directory


@pytest.mark.usefixtures("run")
def test_parquet_has_every_column_described_and_nobody_who_opted_out(recsys: Recsys, tmp_path: Path):
    done = recsys("users", "export", "--out", tmp_path / "crm" / "users.parquet")
    assert done.returncode == 0, done.stderr
    table = pl.read_parquet(tmp_path / "crm" / "users.parquet")
    assert sorted(table["user_id"]) == sorted(IDS[:-1])
    assert table["lifecycle_stage"].unique().to_list() == ["new"]
    listed = describe().filter(pl.col("table").is_in(["user_profile", "user_segments"]))["name"].unique()
    assert set(table.columns) == {*listed, "due_items"}
    meanings = pl.read_csv(tmp_path / "crm" / "users.dictionary.csv")
    assert meanings["column"].to_list() == table.columns
    assert meanings["meaning"].str.len_chars().min() != 0
    assert (tmp_path / "crm" / "users.parquet").stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("run")
def test_csv_is_text_that_no_spreadsheet_takes_for_a_formula(recsys: Recsys, tmp_path: Path):
    out, meanings = tmp_path / "users.CSV", tmp_path / "meanings.csv"
    done = recsys("users", "export", "--out", out, "--dictionary", meanings, "--as-of", "2024-03-01")
    assert done.returncode == 0, done.stderr
    assert meanings.is_file()
    with out.open(encoding="utf-8", newline="") as file:
        rows = {row["user_id"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"'=1+2", "'@ann", "'-7", "007", "zoë"}
    assert rows["007"]["attributes"] == "'+1"
    assert '"007",' in out.read_text(encoding="utf-8")
    assert json.loads(rows["zoë"]["category_affinity"])[1] == {"path": ["Hot, drinks", 'The "best"'], "share": 1.0}
    assert (rows["zoë"]["last_order_at"], rows["zoë"]["orders"]) == ("2024-02-22T10:00:00Z", "1")
    assert rows["zoë"]["sessions"] == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "users.xlsx"), "--out = 'users.xlsx': expected a file that ends in .parquet or .csv"),
        (("--out", "u.csv", "--dictionary", "u.csv"), "--dictionary = 'u.csv': expected another file than --out"),
        (("--out", "u.csv", "--as-of", "2023-01-01"), "no run 20230101T000000Z with features"),
    ],
)
@pytest.mark.usefixtures("run")
def test_a_mistake_is_one_line(recsys: Recsys, arguments: tuple[str, ...], message: str):
    done = recsys("users", "export", *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
