"""Users move to other pseudonyms on one server and on a Cluster, with their expiries, and each only once."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from recsys.errors import SettingsError
from recsys.pseudonyms import Pseudonyms
from recsys.store.client.connect import Client
from recsys.store.flags import Flag, list_flags, put_flags, read_flag, release_user
from recsys.store.keys import Keys
from recsys.store.pseudonym_key import check_store, check_store_unchanged, store_rotating
from recsys.store.pseudonym_rotation import move_users, plan_rotation

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ADDED = Pseudonyms(("new",))
VERSION = "20260301T000000Z"


@pytest.fixture(params=["server", "cluster"])
def store(request: pytest.FixtureRequest) -> Client:
    return request.getfixturevalue("client" if request.param == "server" else "cluster")


def test_users_move_with_all_that_is_theirs(store: Client, keys: Keys, tmp_path: Path) -> None:
    users = [f"user{number}" for number in range(1_200)]
    for user in users:
        store.set(keys.user_items(VERSION, user), f"tea {user[4:]}")
    store.zadd(keys.session("user1"), {"e1 tea purchase\t2": 5, "e2 mug view": 6})
    store.pexpire(keys.session("user1"), 60_000)
    store.hset(keys.event_ids("user1"), "e1", "checksum")
    store.set(keys.alias("user2"), "user1", px=60_000)
    put_flags(store, keys, [Flag("user3", 90.0, ("fast",), "online", NOW, NOW + timedelta(days=36_500))])
    release_user(store, keys, "user4")
    store.set(keys.similar_items(VERSION, "user5"), "an item's")

    plan, moved = tmp_path / "plan", list[int]()
    assert plan_rotation(store, keys, plan) == len(users) + 6
    for _ in range(2):  # the second time finds nothing left to move
        move_users(store, keys, plan, ADDED, moved.append)
    assert sum(moved) == 2 * (len(users) + 6)

    lists = [store.get(keys.user_items(VERSION, ADDED.user(user))) for user in users]
    assert lists == [f"tea {user[4:]}".encode() for user in users]
    assert not any(store.exists(keys.user_items(VERSION, user)) for user in users)
    one, two, three = (ADDED.user(f"user{number}") for number in (1, 2, 3))
    acts: Any = store.zrange(keys.session(one), 0, -1, withscores=True)
    first, second = ADDED.event("e1"), ADDED.event("e2")
    assert acts == [(f"{first} tea purchase\t2".encode(), 5.0), (f"{second} mug view".encode(), 6.0)]
    assert store.hgetall(keys.event_ids(one)) == {first.encode(): b"checksum"}
    assert store.get(keys.alias(two)) == one.encode()
    lifetimes: list[Any] = [store.pttl(key) for key in (keys.session(one), keys.alias(two))]
    assert all(0 < lifetime <= 60_000 for lifetime in lifetimes)
    flag = read_flag(store, keys, three)
    assert flag is not None
    assert [each.user_id for each in list_flags(store, keys, NOW, 10)] == [flag.user_id] == [three]
    assert store.smembers(keys.unflaggable) == {ADDED.user("user4").encode()}
    assert store.get(keys.similar_items(VERSION, "user5")) == b"an item's"


def test_the_first_to_write_says_which_pseudonyms_there_are(store: Client, keys: Keys) -> None:
    check_store_unchanged(store, keys, ADDED)
    assert not store.exists(keys.pseudonyms)
    check_store(store, keys, ADDED)
    for wrong in (None, Pseudonyms(("other",)), Pseudonyms(("new", "newer"))):
        for check in (check_store, check_store_unchanged):
            with pytest.raises(SettingsError, match="pseudonym_key"):
                check(store, keys, wrong)
    check_store(store, keys, ADDED)
    store_rotating(store, keys)
    with pytest.raises(SettingsError, match="on its way to other pseudonyms"):
        check_store(store, keys, ADDED)
