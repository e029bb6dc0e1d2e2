import re
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import redis

from recsys.store.server import stop_server
from serving.lists import Lists
from tests.serving.conftest import Ask, Publish

VERSION = "20180101T000000Z"
ODD_IDS = ("a/b", "/", "a//b/", "ü", "50%", "50%25", "a+b", "?n=1", "#", "a&b=c", "a..b", "x" * 128, "7{x}", "日本")


def test_a_known_user_gets_the_personal_list(ask: Ask, publish_lists: Publish) -> None:
    publish_lists(VERSION, "a")
    (response,) = ask("/v1/recommendations/7?n=2")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert re.fullmatch("[0-9a-f]{32}", body["request_id"])
    assert response.headers["x-request-id"] == body.pop("request_id")
    assert body == {
        "user_id": "7",
        "version": VERSION,
        "source": "personal",
        "items": [{"item_id": "a1", "rank": 1}, {"item_id": "a2", "rank": 2}],
    }


def test_anyone_else_gets_the_popular_one(ask: Ask, publish_lists: Publish) -> None:
    publish_lists(VERSION, "a")
    (response,) = ask("/v1/recommendations/nobody?n=1")
    body = response.json()
    assert (response.status_code, body["user_id"], body["source"]) == (200, "nobody", "popular")
    assert body["items"] == [{"item_id": "ap1", "rank": 1}]


def test_n_items_are_answered_twenty_without_it_and_no_more_than_there_are(
    ask: Ask, publish_lists: Publish
) -> None:
    publish_lists(VERSION, "a")
    responses = ask(*(f"/v1/recommendations/7{query}" for query in ("", "?n=1", "?n=25", "?n=1000")))
    assert [len(response.json()["items"]) for response in responses] == [20, 1, 25, 30]


@pytest.mark.parametrize("n", ["0", "1001", "-1", "x", "", "1.5", " 5", "1_0", "５", "9" * 400, "null", "\0"])
def test_what_is_no_number_of_items_is_told(ask: Ask, publish_lists: Publish, n: str) -> None:
    publish_lists(VERSION, "a")
    for path in ("/v1/recommendations/7", "/v1/recommendations"):
        (response,) = ask(f"{path}?n={quote(n)}")
        body = response.json()
        assert (response.status_code, response.headers["x-request-id"]) == (400, body.pop("request_id"))
        assert body == {"field": "n", "value": n[:200], "expected": "a whole number from 1 to 1000"}


def test_ids_of_any_letters_are_found(ask: Ask, publish_lists: Publish) -> None:
    publish_lists(VERSION, "a", ODD_IDS)
    responses = ask(*(f"/v1/recommendations/{quote(user_id, safe='')}?n=1" for user_id in ODD_IDS))
    found = [(response.status_code, response.json()) for response in responses]
    assert [(status, body.get("user_id"), body.get("source")) for status, body in found] == [
        (200, user_id, "personal") for user_id in ODD_IDS
    ]


@pytest.mark.parametrize("user_id", ["", "a b", "tab\t", "\0", "x" * 129, "\u2028", "x" * 5000])
def test_what_is_no_id_is_told(ask: Ask, user_id: str) -> None:
    (response,) = ask(f"/v1/recommendations/{quote(user_id, safe='')}")
    body = response.json()
    assert response.status_code == 400
    assert (body["field"], body["value"]) == ("user_id", user_id[:200])
    assert body["expected"].startswith("1 to 128 characters")


def test_before_the_first_publish_it_says_so(ask: Ask) -> None:
    for response in ask("/v1/recommendations/7", "/ready"):
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        assert response.json()["error"].endswith("no version is live: run `recsys nightly` to publish one")
    (response,) = ask("/live")
    assert (response.status_code, response.json()) == (200, {"status": "live"})


def test_without_redis_it_says_so_and_lives(
    capsys: pytest.CaptureFixture[str],
    ask: Ask,
    publish_lists: Publish,
    client: redis.Redis,
    server_directory: Path,
) -> None:
    publish_lists(VERSION, "a")
    port = client.connection_pool.connection_kwargs["port"]
    stop_server(server_directory)
    *failed, alive = ask("/v1/recommendations/user-77", "/v1/recommendations/user-78", "/ready", "/live")
    for response in failed:
        assert (response.status_code, response.json()["error"]) == (503, "Redis does not answer")
        assert int(response.headers["retry-after"]) > 0
        assert str(port) not in response.text
    assert alive.status_code == 200
    logged = capsys.readouterr().err
    assert logged.count("requests without an answer") == 1
    assert f"127.0.0.1:{port}" in logged
    assert "user-7" not in logged


def test_what_is_not_there_is_told_in_json(ask: Ask) -> None:
    for path in ("/", "/nope", "/v1", "/v1/recommendation/7", "/schema/scalar", "/live/7"):
        (response,) = ask(path)
        assert response.status_code == 404, path
        assert response.json() == {"error": "Not Found", "request_id": response.headers["x-request-id"]}


def test_a_mistake_of_the_code_is_told_without_its_values(
    capsys: pytest.CaptureFixture[str], ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def user(_: Lists, user_id: str) -> None:
        raise KeyError(user_id)

    monkeypatch.setattr(Lists, "user", user)
    (response,) = ask("/v1/recommendations/user-77")
    assert (response.status_code, response.json()["error"]) == (500, "internal error")
    logged = capsys.readouterr().err
    assert "KeyError" in logged
    assert response.headers["x-request-id"] in logged
    assert "user-77" not in logged + response.text


@pytest.fixture
def schema(ask: Ask) -> dict[str, object]:
    (response,) = ask("/schema/openapi.json")
    assert response.status_code == 200
    return response.json()


def test_its_schema_says_what_is_asked_and_answered(schema: dict[str, dict[str, dict[str, dict]]]) -> None:
    assert set(schema["paths"]) == {"/v1/recommendations/{user_id}", "/live", "/ready"}
    operation = schema["paths"]["/v1/recommendations/{user_id}"]["get"]
    user_id, n = operation["parameters"]
    assert (user_id["name"], user_id["in"], user_id["required"]) == ("user_id", "path", True)
    assert user_id["schema"]["type"] == "string"
    assert (n["name"], n["in"], n["required"]) == ("n", "query", False)
    assert {name: n["schema"][name] for name in ("type", "minimum", "maximum", "default")} == {
        "type": "integer",
        "minimum": 1,
        "maximum": 1000,
        "default": 20,
    }
    assert set(operation["responses"]) == {"200", "400", "503"}
    fields = {name: set(model["properties"]) for name, model in schema["components"]["schemas"].items()}
    assert fields == {
        "Recommendations": {"user_id", "version", "source", "items", "request_id"},
        "Recommendation": {"item_id", "rank"},
        "Invalid": {"field", "value", "expected", "request_id"},
        "Failure": {"error", "request_id"},
    }


def test_nothing_is_loaded_from_elsewhere(ask: Ask) -> None:
    responses: list[httpx.Response] = ask("/schema", "/schema/openapi.json", "/schema/swagger", "/schema/redoc")
    assert all("json" in response.headers["content-type"] for response in responses)
    assert all("http" not in response.text for response in responses)
