"""Errors and dumps of settings do not show passwords."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from recsys.settings import Settings
from tests.recsys.settings.files import load, problem

PASSWORD = "s3cret"
URL = f"redis://:{PASSWORD}@10.0.0.1:6379"


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        (f'[redis]\nurl = ["{URL}"]', {}),
        (f'[redis]\nuri = "{URL}"', {}),
        (f'[redis]\npassword = "{PASSWORD}"', {}),
        (f'redis = "{URL}"', {}),
        (f'redis = "{URL}"', {"RECSYS_REDIS_KEEP_VERSIONS": "3"}),
        (f'[[redis]]\nurl = "{URL}"', {}),
        (f'[redis]\nnamespace = "{URL}"', {}),
        (f'[redis]\nurl = "{URL}"\nkeep_versions = 1', {}),
        (f'[redis]\nurl = "{URL}', {}),
        ("", {"RECSYS_REDIS": URL}),
        ("", {"RECSYS_REDIS_URL": f'["{URL}"]'}),
        ("", {"RECSYS_URL": URL}),
        ("", {"RECSYS_REDIS_PASSWORD": PASSWORD}),
    ],
)
def test_a_password_is_never_shown(tmp_path: Path, text: str, environment: dict[str, str]):
    assert PASSWORD not in problem(tmp_path, text, **environment)


SECRETS = """
[sources]
paths = ["https://reader:s3cr3t@shop.example/events.csv?signature=s3cr3t", "exports"]
[sources.connections]
shop = "postgresql://reader:s3cr3t@127.0.0.1/shop"
[sources.storage_options]
aws_secret_access_key = "s3cr3t"
[[sources.tables]]
name = "orders"
kind = "events"
query = "SELECT 1"
connection = "postgresql://reader:s3cr3t@127.0.0.1:5432/shop?sslkey=s3cr3t"
columns = {}
"""


def test_secrets_of_sources_are_neither_shown_nor_written(tmp_path: Path):
    settings = load(tmp_path, SECRETS)
    assert settings.sources.connections["shop"] == "postgresql://reader:s3cr3t@127.0.0.1/shop"
    assert "s3cr3t" not in repr(replace(settings.sources, paths=()))
    written = TypeAdapter(Settings).dump_python(settings, mode="json")
    assert "s3cr3t" not in repr(written)
    assert written["sources"]["paths"] == ["https://shop.example/events.csv", "exports"]
    assert written["sources"]["tables"][0]["connection"] == "postgresql://127.0.0.1:5432/shop"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[sources.connection]\nshop = "s3cr3t"', "sources.connection = (not shown): there is no such setting"),
        ("[sources.connections]\nshop = 12345", "sources.connections.shop = (not shown): "),
        ("[sources.storage_options]\naws_key = [12345]", "sources.storage_options.aws_key = (not shown): "),
    ],
)
def test_a_mistake_in_a_table_of_secrets_is_reported_without_them(tmp_path: Path, text: str, line: str):
    message = problem(tmp_path, text)
    assert message.startswith(line)
    assert not any(secret in message for secret in ("s3cr3t", "12345"))
