"""The nightly run's flags take the place of its earlier ones, and of nobody else's."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from recsys.store.client.connect import Client
from recsys.store.flags import (
    Flag,
    flagged_users,
    put_flags,
    put_label,
    read_flag,
    release_user,
    replace_nightly_flags,
)
from recsys.store.keys import Keys

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(params=["server", "cluster"])
def store(request: pytest.FixtureRequest) -> Client:
    return request.getfixturevalue("client" if request.param == "server" else "cluster")


def nightly(user_id: str, hours: float = 36.0) -> Flag:
    return Flag(user_id, 95.0, ("a clock",), "nightly", NOW, NOW + timedelta(hours=hours))


def test_those_of_the_last_run_stand_and_earlier_ones_go(store: Client, keys: Keys) -> None:
    assert replace_nightly_flags(store, keys, [nightly("a"), nightly("b")], NOW) == 2
    assert replace_nightly_flags(store, keys, [nightly("b"), nightly("c")], NOW) == 2
    assert sorted(flagged_users(store, keys, NOW)) == ["b", "c"]
    assert read_flag(store, keys, "a") is None
    assert read_flag(store, keys, "c") == nightly("c")
    assert replace_nightly_flags(store, keys, [], NOW) == 0
    assert flagged_users(store, keys, NOW) == []


def test_flags_of_others_stay_as_long_as_they_last_longer(store: Client, keys: Keys) -> None:
    longer, shorter = (replace(nightly(user, hours), source="online") for user, hours in (("a", 48), ("b", 1)))
    put_flags(store, keys, [longer, shorter])
    assert replace_nightly_flags(store, keys, [nightly("a"), nightly("b")], NOW) == 1
    assert (read_flag(store, keys, "a"), read_flag(store, keys, "b")) == (longer, nightly("b"))
    replace_nightly_flags(store, keys, [], NOW)
    assert flagged_users(store, keys, NOW) == ["a"]


def test_expired_flags_are_removed_from_the_index(store: Client, keys: Keys) -> None:
    put_flags(store, keys, [nightly("a", 48), replace(nightly("b"), source="online")])
    later = NOW + timedelta(hours=40)
    assert replace_nightly_flags(store, keys, [], later) == 0
    assert store.zcard(keys.flags) == 0
    put_flags(store, keys, [replace(nightly("c", 1), source="online"), replace(nightly("d", 48), source="online")])
    replace_nightly_flags(store, keys, [], later)
    assert store.zrange(keys.flags, 0, -1) == [b"d"]


def test_what_analysts_say_stands(store: Client, keys: Keys) -> None:
    put_label(store, keys, "bot", "bot", NOW)
    release_user(store, keys, "released")
    assert replace_nightly_flags(store, keys, [nightly("bot"), nightly("released")], NOW) == 0
    flag = read_flag(store, keys, "bot")
    assert flag is not None
    assert flag.source == "label"
    assert read_flag(store, keys, "released") is None


def test_more_flags_than_are_written_at_a_time(store: Client, keys: Keys) -> None:
    many = [nightly(f"u{n}") for n in range(1_201)]
    assert replace_nightly_flags(store, keys, many, NOW) == 1_201
    assert replace_nightly_flags(store, keys, many[:3], NOW) == 3
    assert sorted(flagged_users(store, keys, NOW)) == ["u0", "u1", "u2"]
