"""`recsys anomalies`: list, explain, label and release flagged users."""

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import redis

from jobs.lake.lake import Lake, open_lake
from jobs.pipeline.context import RunContext
from jobs.pipeline.run import open_run
from jobs.pipeline.steps.screen import read_latest_screened_users, screen, screened_users
from jobs.progress import LogProgress
from recsys.contract import Flags
from recsys.pseudonyms import pseudonym
from recsys.settings import Settings
from recsys.store.embedded import start_server
from recsys.store.flags import LABEL_REASON, Flag, put_flags, read_flag, replace_nightly_flags
from recsys.store.keys import Keys
from tests.jobs.experiments.test_backtest import DAY, NOON, acts, lake_with

Recsys = Callable[..., subprocess.CompletedProcess[str]]

KEYS = Keys("recsys")
NOW = datetime.now(UTC).replace(microsecond=0)
REASON = "214 events in 10 s, a shopper makes at most 30"
SECRET = "a key of the shop"
AS_OF = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def store(data_directory: Path) -> Iterator[redis.Redis]:
    """The embedded server that the command will find."""
    address = start_server(data_directory / "valkey")
    with redis.Redis(address.host, address.port) as client:
        yield client


def flag(user_id: str, hours: int = 1) -> Flag:
    return Flag(user_id, 91.5, (REASON, "48 users of its device"), "online", NOW, NOW + timedelta(hours=hours))


def parse_output(ended: subprocess.CompletedProcess[str]) -> Any:
    """The JSON that a command printed."""
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def shown(ended: subprocess.CompletedProcess[str]) -> str:
    """What a command printed for a person."""
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_flags_are_listed(recsys: Recsys, store: redis.Redis) -> None:
    put_flags(store, KEYS, [flag("a", 1), flag("b", 2), flag("c", 3)])
    result = parse_output(recsys("anomalies", "list", "--json"))
    assert [each["user_id"] for each in result] == ["c", "b", "a"]
    assert (result[0]["score"], result[0]["source"], result[0]["reasons"][0]) == (91.5, "online", REASON)
    text = shown(recsys("anomalies", "list", "-n", "1", "--offset", "1", COLUMNS="200"))
    assert [line.split()[0] for line in text.splitlines() if REASON in line] == ["b"]


def test_a_user_is_explained_released_and_labelled(
    recsys: Recsys, store: redis.Redis, data_directory: Path
) -> None:
    put_flags(store, KEYS, [flag("bot")])
    result = parse_output(recsys("anomalies", "explain", "bot", "--json"))
    assert result["flag"]["reasons"] == [REASON, "48 users of its device"]
    assert {name: result[name] for name in ("user_id", "released", "run", "nightly")} == {
        "user_id": "bot",
        "released": False,
        "run": None,
        "nightly": None,
    }
    text = shown(recsys("anomalies", "explain", "bot", COLUMNS="200"))
    assert REASON in text
    assert text.endswith("No nightly run has screened users yet.\n")

    assert shown(recsys("anomalies", "release", "bot")) == "bot is released.\n"
    assert read_flag(store, KEYS, "bot") is None
    assert shown(recsys("anomalies", "explain", "bot")).splitlines()[:2] == [
        "bot is not flagged.",
        "An analyst has released bot: the user is not flagged automatically.",
    ]
    assert put_flags(store, KEYS, [flag("bot")]) == 0

    assert shown(recsys("anomalies", "label", "eve", "bot")) == "eve is labeled bot.\n"
    (held,) = parse_output(recsys("anomalies", "list", "--json"))
    assert (held["user_id"], held["source"], held["reasons"]) == ("eve", "label", [LABEL_REASON])
    assert parse_output(recsys("archive", "--json"))["labels"] == 2
    labels = Lake(data_directory / "lake").labels().collect()
    assert labels.select("user_id", "label").rows() == [("bot", "fine"), ("eve", "bot")]


def test_who_is_released_is_not_screened_out_by_the_next_night(
    recsys: Recsys, store: redis.Redis, data_directory: Path
) -> None:
    """The online half flagged two, and the screening of that night held them back too."""
    settings = Settings(directory=data_directory)
    rows = [row for user in ("ann", "bot", "eve") for row in acts(user, 12, 9.0)]
    lake = lake_with(data_directory, rows)
    raised = [(user, 91.5, [REASON], NOON, False) for user in ("bot", "eve")]
    lake.write_days("flags", pl.DataFrame(raised, pl.Schema(Flags), orient="row"), "1-0")

    def night(as_of: datetime) -> list[str]:
        with open_run(settings, lake, as_of) as run:
            screen(RunContext(run, lake, settings, LogProgress()))
        return sorted(screened_users(run))

    assert night(AS_OF) == ["bot", "eve"]
    result = parse_output(recsys("anomalies", "explain", "bot", "--json"))
    assert (result["flag"], result["run"]) == (None, "20260302T000000Z")
    nightly = result["nightly"]
    assert (nightly["user_id"], nightly["screened"], nightly["origin"], nightly["events"]) == (
        "bot",
        True,
        "online",
        12,
    )
    assert nightly["score"] >= 91.5
    assert REASON in nightly["reasons"]
    text = shown(recsys("anomalies", "explain", "bot", COLUMNS="300"))
    assert "Nightly run 20260302T000000Z" in text
    assert REASON in text
    assert shown(recsys("anomalies", "explain", "ann")).endswith(
        "The nightly run 20260302T000000Z has no finding about ann.\n"
    )

    replace_nightly_flags(store, KEYS, [flag("bot"), flag("eve")], NOW)
    assert shown(recsys("anomalies", "release", "bot")) == "bot is released.\n"
    assert parse_output(recsys("archive", "--json"))["labels"] == 1
    assert night(AS_OF + timedelta(days=1)) == ["eve"]
    latest = read_latest_screened_users(data_directory)
    assert latest is not None
    assert latest.to_list() == ["eve"]
    after = parse_output(recsys("anomalies", "explain", "bot", "--json"))
    assert (after["flag"], after["released"], after["run"]) == (None, True, "20260303T000000Z")
    assert not after["nightly"]["screened"]


def test_users_are_known_by_their_pseudonyms(recsys: Recsys, store: redis.Redis, data_directory: Path) -> None:
    hidden = pseudonym(SECRET, "customer-4711")
    private = {"RECSYS_PSEUDONYM_KEY": SECRET}
    put_flags(store, KEYS, [flag(hidden)])
    (listed,) = parse_output(recsys("anomalies", "list", "--json", **private))
    result = parse_output(recsys("anomalies", "explain", "customer-4711", "--json", **private))
    assert listed["user_id"] == result["user_id"] == result["flag"]["user_id"] == hidden
    assert shown(recsys("anomalies", "release", "customer-4711", **private)) == "customer-4711 is released.\n"
    assert store.smembers(KEYS.unflaggable) == {hidden.encode()}
    assert parse_output(recsys("archive", "--json", **private))["labels"] == 1
    labels = open_lake(Settings(directory=data_directory, pseudonym_key=SECRET)).labels().collect()
    assert labels.select("user_id", "label").rows() == [(hidden, "fine")]
    assert "4711" not in str(store.keys("*"))
    assert shown(recsys("anomalies", "label", hidden, "bot", "--pseudonym", **private))
    again = parse_output(recsys("anomalies", "explain", hidden, "--pseudonym", "--json", **private))
    assert again["flag"]["user_id"] == hidden
    assert shown(recsys("anomalies", "release", hidden, "--pseudonym", **private))
    assert read_flag(store, KEYS, hidden) is None
    # An id of the shop that looks like a pseudonym is not taken for one.
    assert shown(recsys("anomalies", "label", hidden, "bot", **private))
    assert read_flag(store, KEYS, hidden) is None
    assert read_flag(store, KEYS, pseudonym(SECRET, hidden)) is not None
    refused = recsys("anomalies", "release", "customer-4711", "--pseudonym", **private)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "expected a pseudonym of 32 hexadecimal digits" in refused.stderr


def test_a_day_is_replayed(recsys: Recsys, data_directory: Path) -> None:
    before = acts("early", 3, 9.0, NOON - timedelta(days=2))
    lake_with(data_directory, [*acts("bot", 60, 0.1), *acts("ann", 3, 47.0), *before])
    result = parse_output(recsys("anomalies", "backtest", "--json"))
    assert (result["day"], result["users"], result["events"], result["share"]) == (str(DAY), 2, 63, 0.5)
    (raised,) = result["flags"]
    assert (raised["user_id"], raised["held_back"]) == ("bot", False)
    text = shown(recsys("anomalies", "backtest", COLUMNS="300"))
    assert "Flags of 2026-03-01" in text
    assert raised["reasons"][0] in text
    assert text.endswith("50.00% of 2 users would be flagged, from 63 events\n")
    other = parse_output(recsys("anomalies", "backtest", "--day", "2026-02-27", "--json"))
    assert (other["users"], other["flags"]) == (1, [])


def test_mistakes_are_a_line(recsys: Recsys, data_directory: Path) -> None:
    for arguments, problem in (
        (["explain", "b b"], "recsys: USER = 'b b': expected 1 to 128 characters, none white space"),
        (["release", "", "--pseudonym"], "recsys: USER = '': expected 1 to 128 characters"),
        (
            ["release", "a" * 32, "--pseudonym"],
            f"recsys: USER = '{'a' * 32}' with --pseudonym: expected a pseudonym_key",
        ),
        (["backtest", "--day", "yesterday"], "recsys: --day = 'yesterday': expected a date such as 2026-03-01"),
        (["backtest"], "recsys: the lake has no events: run `recsys ingest` or `recsys archive`"),
    ):
        ended = recsys("anomalies", *arguments)
        assert (ended.returncode, ended.stdout) == (2, ""), arguments
        assert ended.stderr.startswith(problem)
        assert ended.stderr.count("\n") == 1
    assert recsys("anomalies", "label", "bot", "maybe").returncode == 2
    assert not (data_directory / "valkey").exists()


@pytest.mark.parametrize("arguments", [["explain", "bot"], ["release", "bot"]])
def test_a_redis_that_does_not_answer_is_a_line(recsys: Recsys, arguments: list[str]) -> None:
    ended = recsys("anomalies", *arguments, RECSYS_REDIS_URL="redis://127.0.0.1:1/0")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("recsys: Redis at 127.0.0.1:1: ")
    assert ended.stderr.count("\n") == 1
