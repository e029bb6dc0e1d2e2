"""The `redis` settings, parsed into an address."""

import pytest

from recsys.errors import StoreError
from recsys.settings import Redis
from recsys.store.address import RedisAddress

NAME = "shop"


def test_a_url_names_server_login_and_database() -> None:
    address = RedisAddress.from_settings(Redis(url="redis://me:p%40ss@host:7/3"))
    (endpoint,) = address.endpoints
    assert (endpoint.host, endpoint.port, endpoint.database) == ("host", 7, 3)
    assert (endpoint.username, endpoint.password, endpoint.tls) == ("me", "p@ss", None)
    assert (address.mode, address.sentinel) == ("server", None)
    assert address.login_options(1.5) == {
        "username": "me",
        "password": "p@ss",
        "socket_timeout": 1.5,
        "socket_connect_timeout": 1.5,
    }


def test_a_socket_is_named_by_its_path() -> None:
    (endpoint,) = RedisAddress.from_settings(Redis(url="unix:///run/redis.sock?db=2")).endpoints
    assert (endpoint.path, endpoint.database, str(endpoint)) == ("/run/redis.sock", 2, "/run/redis.sock")


def test_tls_is_used_for_a_rediss_url() -> None:
    address = RedisAddress.from_settings(Redis(url="rediss://host"))
    assert address.endpoints[0].tls is not None
    assert address.login_options(1)["ssl"] is True


def test_sentinels_and_servers_have_their_own_default_port() -> None:
    url = "redis://:secret@one,two:7/4"
    sentinels = RedisAddress.from_settings(Redis(url=url, sentinel=NAME))
    cluster = RedisAddress.from_settings(Redis(url=url, cluster=True))
    assert [(sentinels.mode, sentinels.sentinel), (cluster.mode, cluster.sentinel)] == [
        ("sentinel", NAME),
        ("cluster", None),
    ]
    assert [[str(each) for each in address.endpoints] for address in (sentinels, cluster)] == [
        ["one:26379", "two:7"],
        ["one:6379", "two:7"],
    ]
    assert {each.password for each in sentinels.endpoints} == {"secret"}
    assert {each.database for each in sentinels.endpoints} == {4}


def test_a_password_is_not_in_the_text_of_an_address() -> None:
    address = RedisAddress.from_settings(Redis(url="redis://me:secret@host"))
    assert "secret" not in f"{address!r} {address} {address.endpoints[0]}"


@pytest.mark.parametrize(
    "settings",
    [
        Redis(url="http://:secret@host"),
        Redis(url="redis://:pass:secret"),
        Redis(url="redis://host/secret"),
        Redis(url="redis://host,secret"),
        Redis(url="secret"),
        Redis(url="unix://:secret@host", sentinel=NAME),
        Redis(url="unix:///secret", cluster=True),
        Redis(url="redis://:secret@host:26379,other:secret", sentinel=NAME),
        Redis(url="secret", sentinel=NAME),
    ],
)
def test_an_invalid_url_is_not_shown(settings: Redis) -> None:
    with pytest.raises(StoreError, match=r"^redis\.url = \(not shown\): expected a redis://") as error:
        RedisAddress.from_settings(settings)
    assert "secret" not in str(error.value)


def test_without_a_url_there_is_no_address() -> None:
    with pytest.raises(StoreError, match=r"redis\.url: expected an address"):
        RedisAddress.from_settings(Redis())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Redis(sentinel=NAME), r"redis\.sentinel: expected redis\.url to name the Sentinels"),
        (
            Redis(url="redis://host", cluster=True, sentinel=NAME),
            r"redis\.sentinel: expected none with redis\.cluster",
        ),
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings: Redis, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        RedisAddress.from_settings(settings)
