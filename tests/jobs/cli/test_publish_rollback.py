"""`recsys rollback`, and `recsys status` after it."""

import json
from pathlib import Path

from recsys.settings import Redis
from recsys.store.client.connect import connect
from recsys.store.keys import Keys
from recsys.store.read import live_version
from tests.commands import run_recsys
from tests.jobs.cli.conftest import FIRST, SECOND


def test_a_shop_goes_back_to_the_lists_before_and_forth_again(tmp_path: Path, two_versions: Path) -> None:
    back = run_recsys(tmp_path, two_versions, "rollback")
    assert (back.returncode, back.stderr) == (0, "")
    assert back.stdout == f"Version {FIRST} is live again; it was {SECOND}\n"
    status = json.loads(run_recsys(tmp_path, two_versions, "status", "--json").stdout)
    assert [(version["name"], version["live"]) for version in status["redis"]["versions"]] == [
        (FIRST, True),
        (SECOND, False),
    ]
    forth = json.loads(run_recsys(tmp_path, two_versions, "rollback", SECOND, "--json").stdout)
    assert (forth["version"], forth["previous"]) == (SECOND, FIRST)
    assert forth["seconds"] < 1


def test_a_version_that_is_not_there_is_one_line(tmp_path: Path, two_versions: Path) -> None:
    refused = run_recsys(tmp_path, two_versions, "rollback", "20170101T000000Z")
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr == (
        f"recsys: version '20170101T000000Z' is not in Redis; versions to go back to: {FIRST}\n"
    )
    assert live_version(connect(Redis(), two_versions), Keys("recsys")) == SECOND
