from fnmatch import fnmatchcase

from recsys.store.keys import TRENDING, Keys, popular_name

VERSION = "20171231T000000Z"


def test_keys_are_those_of_the_public_contract() -> None:
    keys = Keys("shop")
    assert keys.live == "shop:live"
    assert keys.versions == "shop:versions"
    assert keys.user_items(VERSION, "u:1") == "shop:20171231T000000Z:user:{u:1}"
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


def test_the_keys_of_one_user_are_told_from_all_others() -> None:
    keys, user = Keys("shop"), "a}:{b"
    of_session = [keys.session, keys.event_ids, keys.alias, keys.flag, keys.suspect]
    of_version = [keys.user_items, keys.history, keys.disliked, keys.profile]
    own = [name(user) for name in of_session] + [name(VERSION, user) for name in of_version]
    parsed = [keys.parse_user_key(key) for key in own]
    assert [key and key.user_id for key in parsed] == [user] * len(own)
    assert [key and key.renamed("x") for key in parsed] == [
        *(name("x") for name in of_session),
        *(name(VERSION, "x") for name in of_version),
    ]
    assert [key and key.type for key in parsed] == ["zset", "hash", "string", "string", "string"] + ["string"] * 4
    others = [
        keys.similar_items(VERSION, user),
        keys.bought_together(VERSION, user),
        keys.ranking(VERSION, popular_name("user:{7}")),
        keys.rates(10_000, 7),
        keys.device_users("x", 7),
        keys.active(7),
        keys.flags,
        keys.events,
        Keys("shop:b").session("7"),
        Keys("shop").session("7").replace("shop", "shops"),
    ]
    assert [keys.parse_user_key(key) for key in others] == [None] * len(others)
