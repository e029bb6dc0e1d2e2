"""`recsys init`: at a terminal and in scripts, from files to lists in Redis by the commands that it names."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import polars as pl
import pytest
import redis

from tests.commands import run_recsys
from tests.terminal import run_at_terminal

EVENTS = "user_id,item_id,event,timestamp\n7,tea,purchase,2026-03-01T10:00:00Z\n7,milk,view,2026-03-01T10:05:00Z\n"
QUICK = {"RECSYS_MODELS": '["popularity", "item_knn"]', "RECSYS_SEARCH_MAX_TRIALS": "0"}


def type_next_commands(shown: str, work_directory: Path, valkey: redis.Redis, *names: str) -> None:
    """Type those of the commands that `recsys init` names, exactly as it shows them."""
    address = valkey.connection_pool.connection_kwargs
    url = f"redis://{address['host']}:{address['port']}"
    commands = re.findall(r"^  (recsys .*?) *#", shown, re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["check", "ingest", "nightly"]
    for command in commands:
        if command.split()[1] not in names:
            continue
        done = run_recsys(
            work_directory, work_directory / "var", *shlex.split(command)[1:], RECSYS_REDIS_URL=url, **QUICK
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def listed_items(valkey: redis.Redis) -> set[str]:
    """Return the items of all published lists of items."""
    live = valkey.get("recsys:live")
    assert isinstance(live, bytes)
    names = [name.decode() for name in valkey.scan_iter(f"recsys:{live.decode()}:*", _type="string")]
    lists = [name for name in names if re.search(r":(user|item|bought_together|popular|trending)\b", name)]
    texts = [valkey.get(name) for name in lists]
    return {item for text in texts if isinstance(text, bytes) for item in text.decode().split()}


@pytest.fixture
def invoices(shared_data: Path, tmp_path: Path) -> Path:
    """UCI Online Retail as its users know it: month first; days up to the twelfth, so that no date decides this."""
    rows = pl.read_parquet(shared_data / "online_retail" / "online_retail.parquet")
    sizes = rows.drop_nulls("CustomerID").group_by("CustomerID").len().filter(pl.col("len").is_between(100, 140))
    users = sizes.sort("CustomerID").head(40)["CustomerID"]
    kept = rows.filter(pl.col("CustomerID").is_in(users.implode()), pl.col("InvoiceDate").dt.day() <= 12)
    (tmp_path / "data" / "2011").mkdir(parents=True)
    file = tmp_path / "data" / "2011" / "Online Retail.csv"
    kept.with_columns(pl.col("InvoiceDate").dt.strftime("%-m/%-d/%Y %-H:%M")).write_csv(file)
    return file


def test_online_retail_from_a_csv_file_to_lists_without_postage(
    invoices: Path, tmp_path: Path, valkey: redis.Redis
) -> None:
    sold = pl.read_csv(invoices, infer_schema=False)
    assert sold.filter(pl.col("StockCode") == "POST").height > 20
    assert sold.filter(pl.col("StockCode") == "M").height
    answers = {"day or the month first": "month_first", "time zone": ""}
    status, shown = run_at_terminal(tmp_path, "init", "./data", answers=answers)
    assert status == 0, shown
    assert "In which time zone are the times in InvoiceDate of invoices? [Europe/London]:" in shown
    settings = tomllib.loads((tmp_path / "recsys.toml").read_text())
    assert settings["sources"]["time_zone"] == "Europe/London"
    assert {"POST", "M"} <= set(settings["lists"]["not_recommendable"])
    type_next_commands(shown, tmp_path, valkey, "check", "nightly")
    items = listed_items(valkey)
    assert len(items) > 300
    assert not items & {"POST", "M", "MANUAL", "DOT", "D", "S", "BANK_CHARGES"}
    refunds = pl.scan_parquet(tmp_path / "var" / "lake" / "events" / "**" / "*.parquet")
    cancelled = sold.unique().filter(pl.col("InvoiceNo").str.starts_with("C")).height
    assert refunds.filter(pl.col("event") == "refund").select(pl.len()).collect().item() == cancelled


def test_rees46_asks_nothing_and_ends_in_lists(shared_data: Path, tmp_path: Path, valkey: redis.Redis) -> None:
    lines = (shared_data / "rees46" / "events.csv").read_text().splitlines()[:1500]
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "events.csv").write_text("\n".join(lines) + "\n")
    status, shown = run_at_terminal(tmp_path, "init", "shop", answers={})
    assert status == 0, shown
    assert "recsys nightly --as-of 2019-10-02" in shown
    type_next_commands(shown, tmp_path, valkey, "ingest", "nightly")
    assert len(listed_items(valkey)) > 100


def init(tmp_path: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_recsys(tmp_path, tmp_path / "var", "init", *arguments)


def test_init_does_not_wait_where_nobody_can_answer_and_keeps_a_file_that_exists(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(EVENTS.replace("Z", ""))
    assert init(tmp_path, "events.csv").returncode == 0
    written = (tmp_path / "recsys.toml").read_text()
    again = init(tmp_path, "events.csv")
    assert again.returncode == 2
    assert again.stderr == (
        "recsys: recsys.toml exists: --force replaces it, `recsys --config FILE init` writes another one\n"
    )
    assert (tmp_path / "recsys.toml").read_text() == written
    (tmp_path / "recsys.toml").write_text("broken")
    assert init(tmp_path, "--force", "events.csv").returncode == 0
    assert (tmp_path / "recsys.toml").read_text() == written
    other = run_recsys(tmp_path, tmp_path / "var", "--config", "shop.toml", "init", "--yes", "events.csv")
    assert "recsys --config shop.toml check" in other.stdout
    assert [file.name for file in tmp_path.iterdir() if "partial" in file.name] == []


@pytest.mark.parametrize(
    ("files", "source", "error"),
    [
        ({}, "nowhere", "nowhere: no .parquet"),
        ({"words.txt": "a b\nc d\n"}, "words.txt", "words.txt: no table of events, items or users was recognized"),
        ({}, "sqlite:///none.db", "no file is at none.db"),
        ({}, "oracle://shop", "oracle://shop"),
    ],
)
def test_a_source_that_cannot_be_read_is_one_line_and_writes_nothing(
    tmp_path: Path, files: dict[str, str], source: str, error: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = init(tmp_path, source)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert error in done.stderr
    assert not (tmp_path / "recsys.toml").exists()
