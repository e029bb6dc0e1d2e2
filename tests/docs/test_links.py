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


def test_tests_named_by_the_security_page_exist() -> None:
    """Each row of a table whose last column is `test` names one that fails if the row no longer holds."""
    rows, is_of_tests = 0, False
    for line in (ROOT / "docs" / "security.md").read_text().splitlines():
        is_of_tests = line.startswith("|") and (is_of_tests or line.endswith("| test |"))
        if is_of_tests and not line.endswith(("| test |", "--- |")):
            named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", line)
            assert named, line
            for path, name in named:
                assert f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"
            rows += 1
    assert rows > 20


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
