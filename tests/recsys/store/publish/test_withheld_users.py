"""Users whose lists are not published."""

from collections.abc import Callable
from pathlib import Path

import redis

from recsys.store.keys import Keys
from recsys.store.publish.publish import publish

FIRST = "20260301T000000Z"


def test_users_who_want_no_lists_get_none_and_others_get_back_what_is_missing(
    client: redis.Redis, keys: Keys, write_lists: Callable[..., Path]
) -> None:
    users = {"ann": ["a", "b"], "}bob": ["b"], "eve": ["c"]}
    directory = write_lists(FIRST, users, {"}bob": ["a"]}, {"popular": ["a"]})
    withheld = frozenset(("}bob", "nobody"))

    def lists() -> list[bytes | None]:
        return [client.get(keys.user_items(FIRST, user)) for user in users]  # pyright: ignore[reportReturnType]

    for _ in range(2):  # the second time, the version is live and compared
        assert publish(client, keys, FIRST, directory, 2, withheld=withheld).keys == 4
        assert lists() == [b"a b", None, b"c"]
        assert client.get(keys.similar_items(FIRST, "}bob")) == b"a"  # an item
    client.unlink(keys.user_items(FIRST, "eve"))
    assert publish(client, keys, FIRST, directory, 2).keys == 5
    assert lists() == [b"a b", b"b", b"c"]
