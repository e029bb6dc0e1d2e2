"""What answers say to browsers, and requests that other pages could make: hosts, origins, types of bodies."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from recsys.settings import Serving, Settings
from serving.http.auth import AccessError
from serving.http.hosts import MAX_CACHED, HostList
from serving.http.routes import ROUTES
from tests.serving.conftest import Publish, application
from tests.serving.http.test_auth import REQUESTS
from tests.serving.keys import EVENT, ask

PUBLIC = Serving(host="0.0.0.0", hosts=("recsys.shop.example", "10.0.0.7"), origins=("https://shop.example",))
ANY = Serving(host="0.0.0.0", hosts=("*",), origins=("*",))
LOCAL = Serving()
BAD_TYPES = (None, "text/plain", "application/x-www-form-urlencoded", "application/json-seq", "")


def status_of(serving: Serving, *headers: tuple[bytes, bytes]) -> int:
    """The status with which a request with these headers is refused; 200 if it is not."""
    try:
        HostList(serving).check(headers)
    except AccessError as error:
        return error.status
    return 200


@pytest.mark.parametrize(
    ("serving", "host", "status"),
    [
        (LOCAL, "127.0.0.1:8000", 200),
        (LOCAL, "localhost", 200),
        (LOCAL, "[::1]:8000", 200),
        (LOCAL, "127.0.0.9", 200),
        (LOCAL, "rebound.example:8000", 421),
        (LOCAL, "localhost.example", 421),
        (LOCAL, "", 421),
        (LOCAL, "127.0.0.1:x:y", 421),
        (LOCAL, "user@localhost", 421),
        (Serving(host="localhost"), "LOCALHOST:8000", 200),
        (PUBLIC, "recsys.shop.example", 200),
        (PUBLIC, "Recsys.Shop.Example.:443", 200),
        (PUBLIC, "10.0.0.7:8000", 200),
        (PUBLIC, "127.0.0.1", 200),
        (PUBLIC, "0.0.0.0", 421),
        (PUBLIC, "shop.example", 421),
        (ANY, "whatever.example", 200),
    ],
)
def test_a_server_answers_to_its_names_alone(serving: Serving, host: str, status: int) -> None:
    assert status_of(serving, (b"host", host.encode())) == status


def test_a_request_names_one_host() -> None:
    assert status_of(LOCAL) == 421
    assert status_of(LOCAL, (b"host", b"localhost"), (b"host", b"localhost")) == 421


@pytest.mark.parametrize(
    ("serving", "origin", "status"),
    [
        (LOCAL, "http://127.0.0.1:8000", 200),
        (LOCAL, "https://127.0.0.1:8000", 200),
        (LOCAL, "http://127.0.0.1:9000", 403),
        (LOCAL, "https://shop.example", 403),
        (LOCAL, "null", 403),
        (PUBLIC, "https://shop.example", 200),
        (PUBLIC, "http://shop.example", 403),
        (PUBLIC, "https://shop.example.evil.example", 403),
        (ANY, "null", 200),
    ],
)
def test_pages_of_other_origins_are_refused(serving: Serving, origin: str, status: int) -> None:
    assert status_of(serving, (b"host", b"127.0.0.1:8000"), (b"origin", origin.encode())) == status


def test_names_of_hosts_take_bounded_memory() -> None:
    hosts = HostList(ANY)
    for number in range(2 * MAX_CACHED):
        hosts.check([(b"host", b"h%d.example" % number)])
    assert len(hosts._cache) == MAX_CACHED  # pyright: ignore[reportPrivateUsage]


def test_every_route_but_the_probes_checks_host_and_origin(settings: Settings, publish_shop: Publish) -> None:
    publish_shop()
    pages = ("/metrics", "/schema", "/schema/openapi.json", "/schema/files/swagger-ui.css", "/live", "/ready")
    requests = [*(request[1:] for request in REQUESTS), *(("GET", path, None) for path in pages)]
    for headers, status in (({"Host": "rebound.example"}, 421), ({"Origin": "https://rebound.example"}, 403)):
        answers = ask(settings, *((method, path, body, headers) for method, path, body in requests))
        for (_, path, _), answer in zip(requests, answers, strict=True):
            assert answer.status_code == (200 if path in ("/live", "/ready") else status), path


def test_a_body_says_that_it_is_json(settings: Settings, publish_shop: Publish) -> None:
    """What a form or a plain request of another page cannot say."""
    publish_shop()
    paths = [(route.method, route.path.format(item_id="a1", user_id="7")) for route in ROUTES if route.body]
    assert len(paths) == 6

    async def send() -> list[httpx.Response]:
        async with application(settings) as http:
            sent: list[httpx.Response] = []
            for method, path in paths:
                for kind in BAD_TYPES:
                    headers = {} if kind is None else {"Content-Type": kind}
                    sent.append(await http.request(method, path, content=b"{}", headers=headers))
            kind = {"Content-Type": "Application/JSON; charset=utf-8"}
            sent.append(
                await http.post("/v1/events", content=httpx.Request("POST", "/", json=EVENT).read(), headers=kind)
            )
            return sent

    *refused, accepted = asyncio.run(send())
    assert [answer.status_code for answer in refused] == [415] * len(refused)
    assert refused[0].json()["error"] == "the body must be application/json"
    assert accepted.status_code == 202


def test_every_answer_is_kept_by_nobody_and_taken_for_what_it_is(settings: Settings, publish_shop: Publish) -> None:
    publish_shop()
    requests: list[tuple[str, str, Any, Any]] = [(*request[1:], {}) for request in REQUESTS]
    paths = ("/live", "/ready", "/metrics", "/schema", "/schema/openapi.json", "/nothing", "/v1/popular?n=x")
    for answer in ask(settings, *requests, *(("GET", path, None, {}) for path in paths)):
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"], answer.url
        assert answer.headers.get_list("cache-control") == ["no-store"], answer.url


def test_a_page_runs_the_scripts_of_the_server_alone(settings: Settings, publish_shop: Publish) -> None:
    """A browser runs it under this policy in test_openapi.py."""
    publish_shop()
    pages = ask(settings, *(("GET", path, None, {}) for path in ("/schema", "/schema/page")))
    for page in pages:
        policy = page.headers["content-security-policy"]
        scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in scripts
        assert scripts.count("'sha256-") == 1


@pytest.mark.parametrize(
    "values",
    [{"hosts": ["https://shop.example"]}, {"origins": ["shop.example"]}, {"origins": ["https://shop.example/x"]}],
)
def test_names_that_no_request_has_are_refused_as_settings(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected a"):
        replace(Serving(), **values)
