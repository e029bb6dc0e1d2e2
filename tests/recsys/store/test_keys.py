from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis.crc import key_slot

from recsys.store.keys import TRENDING, Keys, popular_name

VERSION = "20171231T000000Z"


def test_keys_are_those_of_the_public_contract() -> None:
    keys = Keys("shop")
    assert keys.live == "shop:live"
    assert keys.versions == "shop:versions"
    assert keys.user_items(VERSION, "u:1") == "shop:20171231T000000Z:user:{u:1}"
    assert keys.again_items(VERSION, "u:1") == "shop:20171231T000000Z:user:{u:1}:again"
    assert keys.new_items(VERSION, "}1") == "shop:20171231T000000Z:user:{ }1}:new"
    assert keys.similar_items(VERSION, "9") == "shop:20171231T000000Z:item:{9}"
    assert keys.ranking(VERSION, popular_name()) == "shop:20171231T000000Z:popular"
    assert keys.ranking(VERSION, popular_name("A>B")) == "shop:20171231T000000Z:popular:A>B"
    assert keys.ranking(VERSION, TRENDING) == "shop:20171231T000000Z:trending"
    assert keys.session("7") == "shop:session:{7}"
    assert keys.flag("7") == "shop:flag:{7}"
    assert keys.unavailable == "shop:unavailable"
    assert keys.events == "shop:events"


def test_the_pattern_of_a_version_matches_its_keys_and_no_others() -> None:
    keys = Keys("recsys")
    pattern = keys.version_pattern(VERSION)
    own = [keys.user_items(VERSION, "*?["), keys.similar_items(VERSION, ""), keys.ranking(VERSION, TRENDING)]
    others = [
        keys.user_items("20171230T000000Z", VERSION),
        keys.session(VERSION),
        keys.live,
        keys.versions,
        Keys("x.recsys").user_items(VERSION, "1"),
    ]
    assert all(fnmatchcase(key, pattern) for key in own)
    assert not any(fnmatchcase(key, pattern) for key in others)


ids = st.text("a{}:%", min_size=1, max_size=6) | st.sampled_from(["a}:again", "a}:again}", ":new", "{a}:new"])


def keys_of(name: str) -> list[str]:
    """All keys of one user, some of which share a command."""
    keys = Keys("recsys")
    own = [key(name) for key in (keys.session, keys.event_ids, keys.alias, keys.flag, keys.suspect)]
    return own + [key(VERSION, name) for key in of_version(keys)]


def of_version(keys: Keys) -> list[Callable[[str, str], str]]:
    """The keys of one user in a version."""
    lists = [keys.user_items, keys.again_items, keys.new_items]
    return [*lists, keys.history, keys.disliked, keys.profile]


@given(ids)
@example("}x")
@example("}")
@example("a}b")
@example("{x")
@example("{}")
def test_keys_of_an_id_share_a_slot_whatever_the_id_is(name: str) -> None:
    keys = Keys("recsys")
    assert len({key_slot(key.encode()) for key in keys_of(name)}) == 1
    pair = (keys.similar_items(VERSION, name), keys.bought_together(VERSION, name))
    assert len({key_slot(key.encode()) for key in pair}) == 1


@given(ids, ids)
@example("}x", "x")
def test_two_ids_have_no_key_in_common(one: str, other: str) -> None:
    assert one == other or not set(keys_of(one)) & set(keys_of(other))


@pytest.mark.parametrize("user", ["7", "a}:{b", "}x", "a}:again", "a}:new}", ":again"])
def test_the_keys_of_one_user_are_told_from_all_others(user: str) -> None:
    keys = Keys("shop")
    of_session = [keys.session, keys.event_ids, keys.alias, keys.flag, keys.suspect]
    own = [name(user) for name in of_session] + [name(VERSION, user) for name in of_version(keys)]
    parsed = [keys.parse_user_key(key) for key in own]
    assert [key and key.user_id for key in parsed] == [user] * len(own)
    assert [key and key.renamed("x") for key in parsed] == [
        *(name("x") for name in of_session),
        *(name(VERSION, "x") for name in of_version(keys)),
    ]
    assert [key and key.type for key in parsed] == ["zset", "hash", "string", "string", "string"] + ["string"] * 6
    assert {keys.user_of_key(key) for key in own} == {user}
    assert all(fnmatchcase(key, keys.user_pattern) for key in own)
    others = [
        keys.similar_items(VERSION, user),
        keys.bought_together(VERSION, user),
        keys.ranking(VERSION, popular_name("user:{7}")),
        keys.rates(10_000, 7),
        keys.device_users("x", 7),
        keys.active(7),
        keys.flags,
        keys.events,
        keys.profile(VERSION, "7") + ":again",
        keys.session("7") + ":new",
        Keys("shop:b").session("7"),
        Keys("shop").session("7").replace("shop", "shops"),
    ]
    assert [keys.parse_user_key(key) for key in others] == [None] * len(others)
