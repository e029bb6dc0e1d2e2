"""Lists to buy again and of new items: published with a version, read, withheld, moved, and removed with it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import redis

from recsys.pseudonyms import Pseudonyms
from recsys.store.client.connect import Client, used_memory
from recsys.store.keys import Keys
from recsys.store.opt_outs import put_opt_out, withhold_lists
from recsys.store.pseudonym_rotation import move_users, plan_rotation
from recsys.store.publish.memory import MemoryForecast
from recsys.store.publish.publish import publish
from recsys.store.read import user_items
from recsys.store.user_keys import LISTS, existing_keys, find_users, user_keys
from tests.recsys.store.versions import FIRST, SECOND, THIRD

Lists = Mapping[str, Sequence[str]]
ODD = ("7", "}x", "a}b", "{y}", "z}:again", "🙂")


@pytest.fixture
def write(write_lists: Callable[..., Path]) -> Callable[..., Path]:
    """Writes the files of a run whose users have all three lists."""

    def write_run(name: str, users: Sequence[str], length: int = 3) -> Path:
        directory = write_lists(name, {user: [f"{user}1", "b"] for user in users}, {"a": ["b"]}, {"popular": ["p"]})
        for file in ("again", "new"):
            lists = [[f"{file}{place}" for place in range(length)] for _ in users]
            frame = pl.DataFrame({"user_id": users, "items": lists}, schema_overrides={"items": pl.List(pl.String)})
            frame.write_parquet(directory / f"{file}_items.parquet")
        return directory

    return write_run


@pytest.fixture(params=["server", "cluster"])
def store(request: pytest.FixtureRequest) -> Client:
    return request.getfixturevalue("client" if request.param == "server" else "cluster")


def test_lists_of_any_id_come_back_and_go_with_the_version(
    store: Client, keys: Keys, write: Callable[..., Path]
) -> None:
    published = publish(store, keys, FIRST, write(FIRST, ODD), 2)
    assert published.keys == 3 * len(ODD) + 2
    for user in ODD:
        assert user_items(store, keys, user, 2, "again").items == ["again0", "again1"]
        assert user_items(store, keys, user, 9, "new").items == ["new0", "new1", "new2"]
        assert user_items(store, keys, user, 9).items == [f"{user}1", "b"]
    nobody = [user_items(store, keys, "nobody", 9, name) for name in ("again", "new")]
    assert [(each.items, each.source) for each in nobody] == [([], "again"), (["p"], "popular")]
    assert {*ODD} < {*find_users(store, keys)}
    for version in (SECOND, THIRD):
        publish(store, keys, version, write(version, ["7"]), 2)
    assert not existing_keys(store, [name for user in ODD for name in user_keys(keys, [FIRST], user)[LISTS]])
    assert user_items(store, keys, "}x", 9, "again").items == []


def test_users_who_opt_out_keep_none_of_their_lists(
    client: redis.Redis, keys: Keys, write: Callable[..., Path]
) -> None:
    directory = write(FIRST, ["ann", "bob", "eve"])
    publish(client, keys, FIRST, directory, 2, withheld=frozenset({"ann"}))
    put_opt_out(client, keys, "bob", datetime(2026, 3, 1, tzinfo=UTC))
    withhold_lists(client, keys, {}, [])
    held = {name for name in client.scan_iter(f"recsys:{FIRST}:*:*") if name.endswith((b":again", b":new"))}
    assert held == {f"recsys:{FIRST}:user:{{eve}}:{name}".encode() for name in ("again", "new")}


def test_users_take_their_lists_along_to_another_pseudonym(
    store: Client, keys: Keys, write: Callable[..., Path], tmp_path: Path
) -> None:
    publish(store, keys, FIRST, write(FIRST, ODD), 2)
    added, plan = Pseudonyms(("new",)), tmp_path / "plan"
    assert plan_rotation(store, keys, plan) == 3 * len(ODD)
    move_users(store, keys, plan, added, lambda _: None)
    for user in ODD:
        moved = added.user(user)
        assert user_items(store, keys, moved, 9, "again").items == ["again0", "again1", "again2"]
        assert user_items(store, keys, moved, 9, "new").items == ["new0", "new1", "new2"]
        assert not existing_keys(store, user_keys(keys, [FIRST], user)[LISTS])


def test_their_memory_is_counted_and_they_are_cut_like_others(
    own_client: redis.Redis, keys: Keys, write: Callable[..., Path]
) -> None:
    directory = write(FIRST, [f"u{number}" for number in range(5_000)], length=50)
    empty, forecast = used_memory(own_client), MemoryForecast.from_files(own_client, keys, FIRST, directory)
    assert forecast.longest == 50
    whole = publish(own_client, keys, FIRST, directory, 2).memory_bytes
    assert whole is not None
    # Few lists are so small that the server's buffers, which come and go, are a twentieth of them.
    assert whole == pytest.approx(forecast.bytes(50), rel=0.05, abs=500_000)
    own_client.flushall()
    cut = publish(own_client, keys, FIRST, directory, 2, max_memory=empty + whole).cut_to  # room for two versions
    assert cut is not None
    assert 10 <= cut < 40
    for name in ("again", "new"):
        assert user_items(own_client, keys, "u7", 99, name).items == [f"{name}{place}" for place in range(cut)]
