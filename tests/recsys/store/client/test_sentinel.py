"""A primary that Sentinels name: publishing to it, and to the one that takes its place."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from recsys.errors import StoreError
from recsys.settings import Redis
from recsys.store.client.connect import connect, describe_server
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish
from recsys.store.read import live_version
from tests.recsys.store.sentinels import HOST, NAME, PASSWORD, Watched, running_sentinel
from tests.recsys.store.versions import FIRST, SECOND, THIRD, USERS, assert_live_and_whole
from tests.waiting import wait_until

ListsOf = Callable[[str], Path]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A primary, a replica and a Sentinel for all tests of this module."""
    with running_sentinel(tmp_path_factory.mktemp("sentinels")) as watched:
        yield watched


@pytest.fixture
def nowhere() -> int:
    """A port that nobody listens at."""
    with socket.create_server((HOST, 0)) as free:
        return free.getsockname()[1]


def test_lists_follow_the_primary(
    watched: Watched, keys: Keys, lists_of: ListsOf, tmp_path: Path, nowhere: int
) -> None:
    # The first of the Sentinels is away, and the other asks for no password, as the servers do.
    url = f"redis://:{PASSWORD}@{HOST}:{nowhere},{HOST}:{watched.sentinel}/0"
    first, second = watched.servers
    with connect(Redis(url=url, sentinel=NAME), tmp_path) as client:
        assert publish(client, keys, FIRST, lists_of(FIRST), 2).keys == USERS + 2
        assert describe_server(client) == f"{HOST}:{first}"
        assert_live_and_whole(client, keys, FIRST)
        with redis.Redis(port=second, password=PASSWORD) as replica:
            wait_until(lambda: replica.get(keys.live) == FIRST.encode())

        watched.fail_over()
        assert watched.primary() == second
        published = publish(client, keys, SECOND, lists_of(SECOND), 2)
        assert (published.previous, published.keys) == (FIRST, USERS + 2)
        assert describe_server(client) == f"{HOST}:{second}"
    with connect(Redis(url=url, sentinel=NAME), tmp_path) as client:
        assert_live_and_whole(client, keys, SECOND)
    with redis.Redis(port=second, password=PASSWORD) as primary:
        assert live_version(primary, keys) == SECOND


def test_sentinels_may_ask_for_the_password_too(
    watched: Watched, keys: Keys, lists_of: ListsOf, tmp_path: Path
) -> None:
    with redis.Redis(port=watched.sentinel) as sentinel:
        sentinel.acl_setuser("default", enabled=True, reset_passwords=True, passwords=[f"+{PASSWORD}"])
    try:
        url = f"redis://:{PASSWORD}@{HOST}:{watched.sentinel}/3"
        with connect(Redis(url=url, sentinel=NAME), tmp_path) as client:
            publish(client, keys, THIRD, lists_of(THIRD), 2)
            assert client.client_info()["db"] == 3
    finally:
        with redis.Redis(port=watched.sentinel, password=PASSWORD) as sentinel:
            sentinel.acl_setuser("default", enabled=True, nopass=True)


def test_errors_do_not_show_the_password(watched: Watched, tmp_path: Path, nowhere: int) -> None:
    for host, name in ((f"{HOST}:{watched.sentinel}", "other"), (f"{HOST}:{nowhere}", NAME)):
        settings = Redis(url=f"redis://:secret@{host}", sentinel=name)
        expected = f"Redis at {name} of the Sentinels at {host}: no Sentinel knows this primary"
        with pytest.raises(StoreError) as error:
            connect(settings, tmp_path)
        assert str(error.value) == expected
    settings = Redis(url=f"redis://:secret@{HOST}:{watched.sentinel}", sentinel=NAME)
    with pytest.raises(StoreError, match=f"Redis at {HOST}:{watched.primary()}: ") as error:
        connect(settings, tmp_path)
    assert "secret" not in str(error.value)
