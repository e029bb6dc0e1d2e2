"""`recsys quarantine` lists and shows the rows that broke a rule, as they came."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from jobs.checks.quarantine import list_quarantine
from jobs.lake.lake import Lake
from tests.ingests import ingest_files, write_events
from tests.source_files import write_file

Recsys = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def lake(data_directory: Path, tmp_path: Path) -> Lake:
    """Return a lake with bad rows of two ingests, of broken lines, and of one that stopped."""
    lake = Lake(data_directory / "lake")
    events = write_events(tmp_path / "events.csv", {}, {"item_id": "a b"}, {"item_id": "c d", "event": "look"})
    ingest_files(lake, events)
    ingest_files(lake, write_file(tmp_path / "items.csv", "item_id,price\ntea,2.5\nmilk,dear\nbread,1,2\n"))
    return lake


@pytest.mark.usefixtures("lake")
def test_bad_rows_are_listed_by_source_and_rule(recsys: Recsys, tmp_path: Path) -> None:
    stopping = write_events(tmp_path / "events-2.csv", {"item_id": "e f"})
    assert recsys("ingest", stopping).returncode == 2
    listed = json.loads(recsys("quarantine", "list", "--json").stdout)
    described = [
        (each["table"], Path(each["source"]).name, each["ingest"], each["rows"], each["rules"]) for each in listed
    ]
    assert described == [
        ("events", "events-2.csv", None, 1, {"item_id_is_an_id": 1}),
        ("events", "events.csv", 1, 2, {"item_id_is_an_id": 2, "event_is_known": 1}),
        ("items", "items.csv", 2, 2, {"line_is_whole": 1, "price_is_readable": 1}),
    ]
    table = recsys("quarantine", "list").stdout
    assert "event_is_known" in table
    assert "price_is_readable" in table


@pytest.mark.usefixtures("lake")
def test_bad_rows_are_shown_as_they_came(recsys: Recsys) -> None:
    def show(*arguments: str) -> list[dict[str, str]]:
        shown = recsys("quarantine", "show", *arguments, "--json")
        assert shown.returncode == 0, shown.stderr
        return [row for part in json.loads(shown.stdout) for row in part["rows"]]

    assert [row.get("item_id") or row["line"].strip() for row in show()] == ["a b", "c d", "milk", "bread,1,2"]
    assert [row.get("price") for row in show("items")] == ["dear", None]
    assert [row["item_id"] for row in show("events", "--rule", "event_is_known")] == ["c d"]
    assert [row["item_id"] for row in show("-n", "1")] == ["a b"]
    assert "bread,1,2" in recsys("quarantine", "show", "items").stdout


def test_a_rule_is_named_without_its_advice(recsys: Recsys, data_directory: Path, tmp_path: Path) -> None:
    lake = Lake(data_directory / "lake")
    ingest_files(lake, write_events(tmp_path / "events.csv", {"price": "1.5"}, {"price": "1.234,50"}))
    (rule,) = list_quarantine(lake)[0].rules
    assert rule.startswith("price_is_readable: set decimal")
    for name in (rule, "price_is_readable"):
        (part,) = json.loads(recsys("quarantine", "show", "--rule", name, "--json").stdout)
        assert [row["price"] for row in part["rows"]] == ["1.234,50"]


def test_files_of_an_earlier_version_get_their_source_from_the_records(lake: Lake) -> None:
    described = [(file.table, file.source, file.rules) for file in list_quarantine(lake)]
    for file in list_quarantine(lake):
        pl.read_parquet(file.path).write_parquet(file.path)
    assert [(file.table, file.source, file.rules) for file in list_quarantine(lake)] == described


@pytest.mark.usefixtures("lake")
def test_mistakes_are_a_line(recsys: Recsys) -> None:
    for arguments, problem in (
        (["orders"], "recsys: table 'orders': no such rows are in quarantine; expected one of: events, items\n"),
        (["events", "--rule", "age"], "expected one of: event_is_known, item_id_is_an_id\n"),
    ):
        ended = recsys("quarantine", "show", *arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.endswith(problem)


def test_an_empty_quarantine(recsys: Recsys) -> None:
    for command in ("list", "show"):
        assert recsys("quarantine", command).stdout == "No rows are in quarantine.\n"
