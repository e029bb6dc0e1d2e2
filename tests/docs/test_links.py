"""Links, keys and commands that the documentation names exist."""

import re
from pathlib import Path
from typing import cast

import pytest
from click import Group
from typer.main import get_command

from jobs.cli.app import app
from recsys.store.keys import TRENDING, Keys, popular_name
from tests.docs.pages import PAGES, ROOT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_source_files_named_exist() -> None:
    for page in PAGES:
        for path in re.findall(r"`((?:recsys|features|jobs|serving|tests)/[\w/.]+)`", page.read_text()):
            assert (ROOT / path).exists(), (page.name, path)


def test_tests_named_exist() -> None:
    """Each line of the table of doors names the test that fails if it no longer holds."""
    page = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", page)
    doors = page.partition("## Doors")[2].partition("\n## ")[0]
    assert len(named) == len(re.findall(r"^\| .*\. \| `tests/", page, re.MULTILINE)) > 20
    assert doors.count("\n|") == doors.count("::") + 2
    for path, name in named:
        assert f"\ndef {name}(" in (ROOT / path).read_text(), f"{path}::{name}"


def test_redis_keys_are_the_code_s() -> None:
    keys, version = Keys("recsys"), "<version>"
    page = (ROOT / "docs" / "redis.md").read_text()
    for key in (
        keys.live,
        keys.user_items(version, "<user_id>"),
        keys.similar_items(version, "<item_id>"),
        keys.bought_together(version, "<item_id>"),
        keys.history(version, "<user_id>"),
        keys.profile(version, "<user_id>"),
        keys.catalogue(version),
        keys.ranking(version, popular_name()),
        keys.ranking(version, popular_name("<category>")),
        keys.ranking(version, TRENDING),
        keys.unavailable,
        keys.session("<user_id>"),
        keys.flag("<user_id>"),
        keys.flags,
        keys.unflaggable,
        keys.events,
    ):
        assert f"`{key}`" in page


def test_commands_named_are_commands() -> None:
    commands = set(cast(Group, get_command(app)).commands)
    named = {name for page in PAGES for name in re.findall(r"`recsys ([a-z]+)", page.read_text())}
    readme = (ROOT / "README.md").read_text()
    assert named <= commands
    assert commands - {"demo"} <= set(re.findall(r"`recsys ([a-z]+)", readme))


def test_readme_is_short() -> None:
    assert (ROOT / "README.md").read_text().count("\n") <= 200
