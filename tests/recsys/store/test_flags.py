"""Flags: read by user and by index, expired in both, and overruled by analysts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.cluster import RedisCluster

from recsys.store.client.connect import Client
from recsys.store.flags import (
    LABEL_FLAG_DAYS,
    Flag,
    decode_flag,
    encode_flag,
    flagged_users,
    list_flags,
    prune_flags,
    put_flags,
    put_label,
    read_flag,
    release_user,
    to_unix_ms,
)
from recsys.store.keys import Keys
from tests.waiting import wait_until

NOW = datetime.now(UTC).replace(microsecond=0)


def flag_of(user_id: str, hours: float = 24.0, **facts: Any) -> Flag:
    flag = Flag(user_id, 91.5, ("214 events in 10 s",), "online", NOW, NOW + timedelta(hours=hours))
    return replace(flag, **facts)


@pytest.fixture(params=["server", "cluster"])
def store(request: pytest.FixtureRequest) -> Client:
    return request.getfixturevalue("client" if request.param == "server" else "cluster")


TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@given(st.text(min_size=1, max_size=9), st.floats(0, 100), st.lists(st.text(), max_size=3), TIMES, TIMES)
def test_a_flag_is_read_as_it_was_written(
    user_id: str, score: float, reasons: list[str], since: datetime, until: datetime
) -> None:
    flag = Flag(user_id, score, tuple(reasons), "nightly", since, until)
    assert decode_flag(encode_flag(flag)) == flag


def test_what_somebody_else_wrote_is_no_flag() -> None:
    assert [decode_flag(value) for value in ("too many events", b"\xff", b"{}", "7")] == [None] * 4


def test_flags_are_listed_those_that_expire_last_first(store: Client, keys: Keys) -> None:
    flags = [flag_of(str(hours), hours) for hours in range(1, 8)]
    assert put_flags(store, keys, flags) == 7
    assert list_flags(store, keys, NOW, 3) == flags[:-4:-1]
    assert list_flags(store, keys, NOW, 3, 5) == [flags[1], flags[0]]
    assert read_flag(store, keys, "4") == flags[3]
    assert read_flag(store, keys, "8") is None
    assert sorted(flagged_users(store, keys, NOW)) == [flag.user_id for flag in flags]
    assert put_flags(store, keys, []) == 0


def test_a_flag_takes_the_place_of_another(client: redis.Redis, keys: Keys) -> None:
    put_flags(client, keys, [flag_of("7", 1)])
    later = flag_of("7", 2, source="nightly", score=80.0)
    put_flags(client, keys, [later])
    assert list_flags(client, keys, NOW, 9) == [later]


def test_a_flag_is_gone_when_it_expires(client: redis.Redis, keys: Keys) -> None:
    until = datetime.now(UTC) + timedelta(milliseconds=150)
    put_flags(client, keys, [flag_of("7", until=until), flag_of("8")])
    assert client.pttl(keys.flag("7")) <= 150
    assert read_flag(client, keys, "7") is not None
    wait_until(lambda: read_flag(client, keys, "7") is None, 5)
    assert flagged_users(client, keys, datetime.now(UTC)) == ["8"]
    assert [flag.user_id for flag in list_flags(client, keys, NOW, 9)] == ["8"]
    assert prune_flags(client, keys, datetime.now(UTC)) == 1
    assert client.zcard(keys.flags) == 1


@pytest.mark.parametrize("microsecond", [0, 1, 999_999])
def test_the_index_keeps_a_flag_until_its_last_microsecond(microsecond: int) -> None:
    moment = datetime(2026, 3, 1, 12, 0, 0, microsecond, tzinfo=UTC)
    assert 0 <= to_unix_ms(moment) * 1000 - (1_772_366_400_000_000 + microsecond) < 1000


def test_who_was_released_is_not_flagged_again(store: Client, keys: Keys) -> None:
    put_flags(store, keys, [flag_of("7"), flag_of("8")])
    assert release_user(store, keys, "7")
    assert not release_user(store, keys, "9")
    assert read_flag(store, keys, "7") is None
    assert flagged_users(store, keys, NOW) == ["8"]
    assert put_flags(store, keys, [flag_of("7"), flag_of("8"), flag_of("9", source="nightly")]) == 1
    assert flagged_users(store, keys, NOW) == ["8"]


def test_what_an_analyst_says_is_kept_and_stands(store: Client, keys: Keys) -> None:
    put_flags(store, keys, [flag_of("7")])
    put_label(store, keys, "7", "fine", NOW)
    assert read_flag(store, keys, "7") is None
    put_label(store, keys, "7", "bot", NOW)
    flag = read_flag(store, keys, "7")
    assert flag is not None
    assert (flag.source, flag.score, flag.until) == ("label", 100.0, NOW + timedelta(days=LABEL_FLAG_DAYS))
    assert put_flags(store, keys, [flag_of("7", 1, source="nightly")]) == 0
    assert read_flag(store, keys, "7") == flag
    entries: Any = store.xrange(keys.events)
    assert [fields for _, fields in entries] == [
        {b"label": f'{{"user_id":"7","label":"{label}","labelled_at":"{NOW:%Y-%m-%dT%H:%M:%S}Z"}}'.encode()}
        for label in ("fine", "bot")
    ]


def test_many_flags_are_put_in_blocks(cluster: RedisCluster, keys: Keys) -> None:
    flags = [flag_of(str(number), 1 + number / 10_000) for number in range(2_500)]
    assert put_flags(cluster, keys, flags) == 2_500
    assert len(flagged_users(cluster, keys, NOW)) == 2_500
    assert list_flags(cluster, keys, NOW, 1) == [flags[-1]]
