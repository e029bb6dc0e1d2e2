import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from recsys.errors import SettingsError
from recsys.schema import DEFAULT_WEIGHTS
from recsys.settings import Evaluation, Lake, Settings, Sources, Table, load_settings, parse, settings_file
from recsys.settings.loading import RENAMED_SETTINGS
from tests.recsys.settings.files import load, problem

SHOP = """
repeat = "allow"
seed = 7
models = ["popularity", "als"]

[model_settings.als]
factors = 32

[sources]
paths = ["exports"]
time_zone = "Europe/London"
half_life_days = 30
weights = { wishlist = 2, purchase = 6.5 }

[[sources.tables]]
name = "orders"
kind = "events"
files = "orders*.csv"
events = { bought = "purchase" }
separator = ";"
[sources.tables.columns]
user_id = "customer"
category = ["a", "b"]

[lake]
buckets = 8
"""


def test_without_a_file_everything_has_its_default():
    assert load_settings(None, {}) == Settings()


def test_a_settings_file_is_read_into_frozen_values(tmp_path: Path):
    settings = load(tmp_path, SHOP)
    assert settings == Settings(
        repeat="allow",
        seed=7,
        models=("popularity", "als"),
        model_settings={"als": {"factors": 32}},
        sources=Sources(
            paths=("exports",),
            time_zone="Europe/London",
            half_life_days=30.0,
            weights={"wishlist": 2.0, "purchase": 6.5},
            tables=(
                Table(
                    "orders",
                    "events",
                    "orders*.csv",
                    {"user_id": "customer", "category": ("a", "b")},
                    {"bought": "purchase"},
                    separator=";",
                ),
            ),
        ),
        lake=Lake(buckets=8),
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.seed = 8  # type: ignore[misc]


def test_weights_go_over_the_built_in_ones_and_add_names():
    weights = Sources(weights={"wishlist": 2.0, "purchase": 6.5}).event_weights
    assert weights == DEFAULT_WEIGHTS | {"wishlist": 2.0, "purchase": 6.5}
    assert DEFAULT_WEIGHTS["purchase"] == 5.0


def test_events_that_are_negative_or_weighed_by_value_have_weights():
    sources = Sources(
        negative_events=("dislike", "hide"),
        value_weights={"watch": ((0.1, 0.0), (0.9, 2.0))},
        weights={"hide": -1.0},
    )
    assert sources.event_weights == DEFAULT_WEIGHTS | {"dislike": -3.0, "hide": -1.0, "watch": 2.0}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('negative_events = ["view"]', "negative_events = 'view': its weight is 1, expected one below 0"),
        ('rating_events = ["stars"]', "rating_events = 'stars': expected names among cart, click,"),
        (
            "value_weights = { w = [[0.5, 1], [0.5, 2]] }",
            "expected pairs of value and weight, the values ascending",
        ),
        ("value_weights = { w = [] }", "expected pairs of value and weight, the values ascending"),
        ("value_weights = { w = [[0.5, -1]] }", "expected weights not below 0"),
    ],
)
def test_what_events_say_is_checked(tmp_path: Path, text: str, line: str):
    message = problem(tmp_path, f"[sources]\n{text}")
    assert line in message
    assert "\n" not in message


def test_the_environment_goes_over_the_file(tmp_path: Path):
    settings = load(
        tmp_path,
        SHOP,
        RECSYS_SEED="9",
        RECSYS_LAKE_BUCKETS="2",
        RECSYS_DIRECTORY="/data/shop",
        RECSYS_SOURCES_HALF_LIFE_DAYS="14.5",
        RECSYS_SOURCES_PATHS='["a.csv", "b.csv"]',
        RECSYS_LOG_FORMAT="json",
        RECSYS_REDIS_URL="redis://10.0.0.1:6379/0",
        HOME="/root",
    )
    assert (settings.seed, settings.lake.buckets, settings.directory) == (9, 2, Path("/data/shop"))
    assert (settings.sources.half_life_days, settings.sources.paths) == (14.5, ("a.csv", "b.csv"))
    assert (settings.log_format, settings.redis.url) == ("json", "redis://10.0.0.1:6379/0")
    assert (settings.repeat, settings.sources.time_zone) == ("allow", "Europe/London")


def test_the_environment_is_that_of_the_process_where_none_is_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECSYS_SEED", "11")
    assert load_settings(None).seed == 11


@given(st.integers(min_value=1, max_value=1000), st.integers(), st.text("abcXYZ019_.-", min_size=1, max_size=64))
def test_values_from_the_environment_are_those_from_a_file(buckets: int, seed: int, namespace: str):
    environment = {"RECSYS_LAKE_BUCKETS": str(buckets), "RECSYS_SEED": str(seed)}
    environment["RECSYS_REDIS_NAMESPACE"] = f'"{namespace}"'
    settings = load_settings(None, environment)
    assert (settings.lake.buckets, settings.seed, settings.redis.namespace) == (buckets, seed, namespace)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("buckets = 2", "buckets = 2: there is no such setting"),
        ("[sources]\npaths = 'data'", "sources.paths = 'data': expected a list, as in ['a']"),
        ("[lake]\nbukets = 2", "lake.bukets = 2: there is no such setting"),
        ("[lake]\nbuckets = 0", "lake.buckets = 0: Input should be greater than or equal to 1"),
        ("[lake]\nbuckets = 1001", "lake.buckets = 1001: Input should be less than or equal to 1000"),
        (
            "[lake]\nbuckets = 1.5",
            "lake.buckets = 1.5: Input should be a valid integer, got a number with a fractional",
        ),
        ('[lake]\nbuckets = "many"', "lake.buckets = 'many': Input should be a valid integer"),
        ("lake = 3", "lake = 3: Input should be a dictionary or an instance of Lake"),
        ('models = ["ease", "slim", "ease"]', "models = ['ease', 'slim', 'ease']: 'ease' is listed twice"),
        ("models = []", "models = []: "),
        ('repeat = "maybe"', "repeat = 'maybe': Input should be 'allow' or 'exclude'"),
        ('device = "gpu"', "device = 'gpu': Input should be 'auto', 'cpu' or 'cuda'"),
        ("[sources]\nhalf_life_days = 0", "sources.half_life_days = 0: Input should be greater than 0"),
        ("[sources]\nhalf_life_days = nan", "sources.half_life_days = nan: Input should be a finite number"),
        ("[sources]\nchunk_rows = -1", "sources.chunk_rows = -1: Input should be greater than 0"),
        ('[sources.weights]\nbuy = "much"', "sources.weights.buy = 'much': Input should be a valid number"),
        (
            '[sources]\ntime_zone = "Mars/Base"',
            "sources.time_zone = 'Mars/Base': expected a time zone such as Europe/",
        ),
        ("[evaluation]\ncutoffs = [5, 0]", "evaluation.cutoffs.1 = 0: Input should be greater than 0"),
        ("[evaluation]\nhead_share = 1", "evaluation.head_share = 1: Input should be less than 1"),
        ('[redis]\nnamespace = "a b"', "redis.namespace = 'a b': String should match pattern"),
        ("[lists]\nuser_items = 1001", "lists.user_items = 1001: Input should be less than or equal to 1000"),
        ("[redis]\ntimeout_seconds = -1", "redis.timeout_seconds = -1: Input should be greater than 0"),
        ("[serving]\nport = 0", "serving.port = 0: Input should be greater than or equal to 1"),
        ("[serving]\nport = 65536", "serving.port = 65536: Input should be less than or equal to 65535"),
        ("[serving]\nworkers = 0", "serving.workers = 0: Input should be greater than or equal to 1"),
        (
            '[redis]\nmax_memory = "12 apples"',
            "redis.max_memory = '12 apples': expected bytes, or text such as 512MB",
        ),
        ("[redis]\nmax_memory = 0", "redis.max_memory = 0: Input should be greater than 0"),
        ("[redis]\ncluster = 7", "redis.cluster = 7: Input should be a valid boolean"),
        ("[redis]\nkeep_versions = 1", "redis.keep_versions = 1: Input should be greater than or equal to 2"),
    ],
)
def test_a_wrong_setting_is_reported_with_field_value_and_expectation(tmp_path: Path, text: str, line: str):
    assert problem(tmp_path, text).startswith(line)


TABLE = '[[sources.tables]]\nname = "orders"\nkind = "events"\nfiles = "*"\ncolumns = {}\n'


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (TABLE.replace('kind = "events"\n', ""), "sources.tables.0.kind is missing"),
        (
            TABLE.replace("events", "orders"),
            "sources.tables.0.kind = 'orders': Input should be 'events', 'items', 'users'",
        ),
        (TABLE.replace("orders", "../orders"), "sources.tables.0.name = '../orders': String should match pattern"),
        (TABLE + 'separator = "||"', "sources.tables.0.separator = '||': String should match pattern"),
        (TABLE + 'separator = "é"', "sources.tables.0.separator = 'é': String should match pattern"),
        (TABLE + 'time_zone = "CEST?"', "sources.tables.0.time_zone = 'CEST?': expected a time zone such as"),
        (TABLE + TABLE.replace("files", "fils"), "sources.tables.1.fils = '*': there is no such setting"),
    ],
)
def test_a_wrong_table_is_reported_with_its_place(tmp_path: Path, changed: str, line: str):
    assert problem(tmp_path, changed).startswith(line)


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("RECSYS_LAKE_BUCKETS", "many", "lake.buckets = 'many': Input should be a valid integer"),
        ("RECSYS_BUCKETS", "2", "buckets = 2: there is no such setting"),
        ("RECSYS_LAKE_", "2", "lake_ = 2: there is no such setting"),
    ],
)
def test_a_wrong_variable_is_reported_by_its_name(tmp_path: Path, variable: str, value: str, line: str):
    assert problem(tmp_path, "", **{variable: value}).startswith(f"{variable}: {line}")


def test_a_variable_of_a_section_that_the_file_makes_a_value_is_named(tmp_path: Path):
    assert problem(tmp_path, "lake = 3", RECSYS_LAKE_BUCKETS="2") == (
        "lake: expected a table, [lake], to put RECSYS_LAKE_BUCKETS in"
    )


def test_a_file_that_is_no_toml_or_cannot_be_read_is_named(tmp_path: Path):
    assert problem(tmp_path, "seed = \n") == "is not TOML: Invalid value (at line 1, column 8)"
    with pytest.raises(SettingsError, match=r"missing\.toml: cannot be read: .*No such file"):
        load_settings(tmp_path / "missing.toml", {})
    (tmp_path / "latin.toml").write_bytes('directory = "é"'.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"latin\.toml: cannot be read: 'utf-8' codec can't decode"):
        load_settings(tmp_path / "latin.toml", {})


def test_the_settings_file_is_the_named_one_else_that_of_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    named = {"RECSYS_SETTINGS_FILE": "/etc/shop.toml"}
    assert (settings_file({}), settings_file(named)) == (None, Path("/etc/shop.toml"))
    (tmp_path / "recsys.toml").write_text("")
    assert (settings_file({}), settings_file(named)) == (Path("recsys.toml"), Path("/etc/shop.toml"))
    assert load_settings(None, named) == Settings()


@pytest.mark.parametrize("old", RENAMED_SETTINGS)
def test_a_renamed_setting_is_reported_with_its_new_name(tmp_path: Path, old: str) -> None:
    section, _, name = old.rpartition(".")
    new = RENAMED_SETTINGS[old]
    text = f"[{section}]\n{name} = 1" if section else f'{name} = ["als"]'
    assert problem(tmp_path, text) == f"{old} was renamed to {new}"
    variables = [f"RECSYS_{setting.replace('.', '_').upper()}" for setting in (old, new)]
    assert problem(tmp_path, "", **{variables[0]: "1"}) == (
        f"{variables[0]}: was renamed to {variables[1]}: {old} is now {new}"
    )


def test_the_new_name_of_a_renamed_setting_exists() -> None:
    for new in RENAMED_SETTINGS.values():
        value: object = Settings()
        for name in new.split("."):
            value = getattr(value, name)


def test_settings_of_a_model_under_their_former_table_are_reported_with_the_new_one(tmp_path: Path) -> None:
    assert problem(tmp_path, "[models.als]\nfactors = 32") == (
        "models.als: the settings of a model are in [model_settings.als]; models is the list of models to try"
    )


def test_any_part_of_the_settings_is_parsed_alike():
    assert parse(TypeAdapter(Evaluation), {"test_days": 7}, "here") == Evaluation(test_days=7.0)
    with pytest.raises(SettingsError, match=r"^here: test_days = -7: Input should be greater than 0$"):
        parse(TypeAdapter(Evaluation), {"test_days": -7}, "here")


def test_the_environment_sets_one_connection_or_option_as_text(tmp_path: Path):
    text = '[sources.connections]\nshop = "sqlite:///a.db"\nlog = "sqlite:///b.db"\n'
    variables = {"CONNECTIONS_SHOP": "sqlite:///c.db", "STORAGE_OPTIONS_AWS_SECRET_ACCESS_KEY": "12345"}
    environment = {f"RECSYS_SOURCES_{name}": value for name, value in variables.items()}
    sources = load(tmp_path, text, **environment, AWS_ENDPOINT_URL="http://127.0.0.1:9000").sources
    assert sources.connections == {"shop": "sqlite:///c.db", "log": "sqlite:///b.db"}
    assert sources.storage_options == {
        "aws_endpoint_url": "http://127.0.0.1:9000",
        "aws_secret_access_key": "12345",
    }


@pytest.mark.parametrize("name", ["DIRECTORY", "REDIS_TLS_CA", "SERVING_TLS_KEY", "SERVING_STATIC_LIST"])
def test_an_empty_path_is_not_the_working_directory(name: str):
    with pytest.raises(SettingsError, match="= '': expected a path"):
        load_settings(None, {f"RECSYS_{name}": ""})
