"""The Python client, against a real server and against one with prepared answers."""

import asyncio
import inspect
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest

from recsys.api_key_file import KeyFile
from recsys.api_keys import SCOPES, ApiKeys, create_key
from serving import requests
from serving.api import AcceptedEvents, InvalidValue
from serving.client import AsyncClient, Client, InvalidRequestError, RefusedError, UnavailableError, calls
from serving.http.query import query_fields
from serving.intake import event_parsing, items
from serving.requests import ListOptions, ListRequest
from tests.serving.conftest import VERSION, Publish, Shop
from tests.serving.http.test_recommendations import ODD_IDS
from tests.serving.processes import free_port, serving

Answers = list[tuple[int, dict[str, str], Any]]
USERS = (*ODD_IDS, ".", "..", "7")
TEXTS = str | Sequence[str]
CLIENT_TYPES: dict[str, Any] = {
    "exclude": Sequence[str],
    "cursor": str | None,
    "debug": bool,
    **dict.fromkeys(("category", "brand", "attribute"), TEXTS),
}
"""Of arguments that are not written as the server stores them."""
ACCEPTED = {"request_id": "r", "accepted": 1, "duplicates": 0, "shed": 0, "errors": []}


class Awaited:
    """An `AsyncClient`, each of whose calls is awaited to the end: what `Client` does."""

    def __init__(self, client: AsyncClient, runner: asyncio.Runner) -> None:
        self._client, self._runner = client, runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._client, name)
        return lambda *arguments, **named: self._runner.run(call(*arguments, **named))


@contextmanager
def either(kind: str, address: str, *arguments: Any, **named: Any) -> Generator[Client]:
    """A client of a kind, closed at the end."""
    if kind == "synchronous":
        with Client(address, *arguments, **named) as client:
            yield client
        return
    with asyncio.Runner() as runner:
        awaited: Any = Awaited(AsyncClient(address, *arguments, **named), runner)
        yield awaited
        awaited.close()


KINDS = pytest.mark.parametrize("kind", ["synchronous", "asynchronous"])


def test_each_call_has_its_answer(url: str, publish_shop: Publish, tmp_path: Path) -> None:
    """Of a real server over a real network; the ids are of any letters."""
    publish_shop(Shop(users=USERS, profiles={"7": '{"events":3}'}))
    admin, admin_token = create_key("admin", SCOPES, 0, datetime.now(UTC))
    reader, reader_token = create_key("reader", ["recommend"], 0, datetime.now(UTC))
    KeyFile.of(tmp_path / "var").save(ApiKeys().with_key(admin).with_key(reader))
    with serving(tmp_path, "", {"RECSYS_REDIS_URL": url}) as served:
        address = str(served.http.base_url)
        for kind in ("synchronous", "asynchronous"):
            with either(kind, address, admin_token, timeout=10.0) as client:
                check_calls(client)
            with (
                either(kind, address, reader_token, timeout=10.0) as client,
                pytest.raises(RefusedError) as refused,
            ):
                client.put_item("a1", price=1.0)
            assert refused.value.status == 403
            with either(kind, address, timeout=10.0) as client, pytest.raises(RefusedError) as unknown:
                client.popular()
            assert unknown.value.status == 401


def check_calls(client: Client) -> None:
    """Every call of a client, by what it answers."""
    for user_id in USERS:
        answer = client.recommendations(user_id, n=1, exclude=["a2"])
        assert (answer.user_id, answer.items[0].source) == (user_id, "personal")
    first = client.recommendations("7", n=10, context="mail")
    second = client.recommendations("7", n=10, context="mail", cursor=first.cursor)
    assert [item.rank for item in second.items] == list(range(11, 21))
    assert client.recommendations("7", debug=True).stages
    assert client.recommendations(session_id="s9").user_id == "guest:s9"
    assert [item.item_id for item in client.similar("a1", n=2).items] == ["an1", "an2"]
    assert client.trending(n=1).items[0].item_id == "at1"
    assert client.popular(n=1, offset=1).items[0].rank == 2
    assert [each.user_id for each in client.batch(["7", "nobody"], n=2).answers] == ["7", "nobody"]
    assert [item.item_id for item in client.rank("7", ["a3", "a1"]).items] == ["a1", "a3"]
    assert client.put_item("new/1", category=["GARDEN"], price=3.5).item_id == "new/1"
    assert client.popular(category=["NONE", "GARDEN"]).items[0].item_id == "new/1"
    assert client.batch(["7"], category="GARDEN").answers[0].items[0].item_id == "new/1"
    taken = client.send_events([{"user_id": "8", "event": "view", "item_id": "a1", "session_id": "s8"}])
    assert (taken.accepted, taken.errors) == (1, [])
    assert client.user("8").session[0].item_id == "a1"
    assert client.user("7").profile == {"events": 3}
    check_anomalies(client)
    assert client.ready().version == VERSION
    with pytest.raises(InvalidRequestError) as invalid:
        client.recommendations("7", n=0)
    assert (invalid.value.field, invalid.value.value) == ("n", "0")
    assert invalid.value.expected == requests.EXPECTED["n"]


def check_anomalies(client: Client) -> None:
    """A user is flagged, listed and released."""
    for user_id in ("bot", "7{x}"):
        assert client.label(user_id, "bot").label == "bot"
        flag = client.anomaly(user_id).flag
        assert flag is not None
        assert (flag.user_id, flag.score, flag.source) == (user_id, 100.0, "label")
    assert client.recommendations("7{x}", n=1).items[0].source == "popular"
    first, rest = client.anomalies(n=1), client.anomalies(offset=1)
    assert first.total == rest.total == 2
    assert {flag.user_id for flag in (*first.flags, *rest.flags)} == {"bot", "7{x}"}
    for user_id in ("bot", "7{x}"):
        assert client.release(user_id).label == "fine"
        assert client.anomaly(user_id).flag is None
        assert client.anomaly(user_id).released
    assert client.anomalies().total == 0
    by_pseudonym = partial(client.label, label="bot")
    for call in (client.user, client.anomaly, client.release, by_pseudonym):
        with pytest.raises(InvalidRequestError) as invalid:  # of a server without pseudonyms
            call("a" * 32, is_pseudonym=True)
        assert invalid.value.field == "pseudonym"


@dataclass
class Answering:
    """A server with prepared answers that keeps the requests."""

    address: str
    answers: Answers = field(default_factory=Answers)
    """Status, headers and content, the next one first; the last one stays."""
    bodies: list[Any] = field(default_factory=list[Any])


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Listens on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            server.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            status, headers, content = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the name is the base's
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Answering(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))
    thread.start()
    yield server
    http.shutdown()
    thread.join()
    http.server_close()


def seen(count: int) -> list[calls.Event]:
    """So many events."""
    return [{"user_id": "7", "event": "view", "item_id": f"i{number}"} for number in range(count)]


@KINDS
def test_many_events_go_in_batches_and_their_errors_count_on(kind: str, answering: Answering) -> None:
    wrong = {"row": 3, "field": "event", "value": "x", "expected": "one of …"}
    answering.answers = [
        (202, {}, {**ACCEPTED, "accepted": 500}),
        (202, {}, {**ACCEPTED, "accepted": 499, "errors": [wrong]}),
        (400, {}, {**ACCEPTED, "accepted": 0, "errors": [{**wrong, "row": 0}]}),
    ]
    with either(kind, answering.address) as client:
        taken = client.send_events(seen(1001))
    assert [len(body) for body in answering.bodies] == [500, 500, 1]
    assert [row["item_id"] for body in answering.bodies for row in body] == [f"i{row}" for row in range(1001)]
    assert (taken.accepted, [error.row for error in taken.errors]) == (999, [503, 1000])


@KINDS
def test_events_are_sent_again_as_the_same_ones(kind: str, answering: Answering) -> None:
    failure = {"error": "Redis does not answer", "request_id": "r"}
    answering.answers = [
        (503, {"Retry-After": "0"}, failure),
        (429, {"Retry-After": "0"}, {**ACCEPTED, "accepted": 1, "duplicates": 0, "shed": 1}),
        (502, {"Retry-After": "0"}, b"<html>"),
        (202, {}, {**ACCEPTED, "accepted": 2}),
    ]
    with either(kind, answering.address) as client:
        taken = client.send_events([*seen(1), {"event_id": "e1", "event": "view", "item_id": "a", "user_id": "7"}])
    assert taken.accepted == 2
    first, *again = answering.bodies
    assert len(again) == 3
    assert all(body == first for body in again)
    assert len(first[0]["event_id"]) == 32
    assert datetime.fromisoformat(first[0]["timestamp"]).tzinfo is not None
    assert first[1]["event_id"] == "e1"


@KINDS
def test_patience_ends(kind: str, answering: Answering) -> None:
    answering.answers = [
        (202, {}, {**ACCEPTED, "accepted": 500}),
        (503, {"Retry-After": "9"}, {"error": "Redis does not answer", "request_id": "r"}),
    ]
    with either(kind, answering.address, patience=1.0) as client, pytest.raises(UnavailableError) as error:
        client.send_events(seen(502))
    assert error.value.retry_after == 9
    assert str(error.value) == "503: Redis does not answer"
    assert [event.get("item_id") for event in error.value.unsent] == ["i500", "i501"]
    assert all(event.get("event_id") for event in error.value.unsent)
    assert len(answering.bodies) == 2


@KINDS
def test_refused_events_are_reported(kind: str, answering: Answering) -> None:
    answering.answers = [(429, {"Retry-After": "5"}, {**ACCEPTED, "accepted": 0, "duplicates": 0, "shed": 1})]
    with either(kind, answering.address, patience=1.0) as client:
        assert client.send_events(seen(1)) == AcceptedEvents("r", 0, 0, 1, [])


@KINDS
@pytest.mark.parametrize(
    ("status", "content", "error"),
    [
        (400, msgspec.to_builtins(InvalidValue("n", "0", "more", "r")), InvalidRequestError),
        (401, {"error": "a valid API key is needed", "request_id": "r"}, RefusedError),
        (404, b"<html>", RefusedError),
        (429, {"error": "too many requests with this API key", "request_id": "r"}, UnavailableError),
        (500, {"error": "internal error", "request_id": "r"}, UnavailableError),
        (200, b"<html>", RefusedError),
        (302, b"", RefusedError),
    ],
)
def test_what_is_no_answer_is_an_error(
    kind: str, answering: Answering, status: int, content: Any, error: type[Exception]
) -> None:
    """At once: who waits for a list does not want it a second later."""
    answering.answers = [(status, {"Retry-After": "9"}, content)]
    with either(kind, answering.address) as client, pytest.raises(error):
        client.batch(["7"])
    assert len(answering.bodies) == 1


@KINDS
def test_a_server_that_is_not_there_is_unavailable(kind: str) -> None:
    with either(kind, f"http://127.0.0.1:{free_port()}", "secret-key", patience=0.0) as client:
        with pytest.raises(UnavailableError, match="does not answer") as error:
            client.batch(["7"])
        with pytest.raises(UnavailableError):
            client.send_events(seen(1))
        assert client.send_events([]) == AcceptedEvents("", 0, 0, 0, [])
    assert "secret-key" not in f"{error.value!r}"


def test_its_types_are_what_the_server_takes() -> None:
    for arguments, request in ((calls.ListOptions, ListOptions), (calls.UserListOptions, ListRequest)):
        fields = query_fields(request)
        assert get_type_hints(arguments) == {name: CLIENT_TYPES.get(name, fields[name].type) for name in fields}
    assert set(calls.Event.__annotations__) == set(event_parsing.Event.__struct_fields__)
    assert set(calls.ItemFacts.__annotations__) == set(items.ItemChange.__struct_fields__)


def public(of: type) -> dict[str, str]:
    """The methods of a class with what they take and give."""
    methods = inspect.getmembers(of, inspect.isfunction)
    return {name: str(inspect.signature(method)) for name, method in methods if not name.startswith("_")}


def test_both_clients_are_alike() -> None:
    assert public(Client) == public(AsyncClient)
    assert len(public(Client)) == 15


def fresh(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_it_imports_nothing_of_the_server() -> None:
    done = fresh("import serving.client.client, sys; print(*{name.partition('.')[0] for name in sys.modules})")
    imported = set(done.stdout.split())
    assert {"httpx", "msgspec", "serving"} <= imported
    assert not {"granian", "hiredis", "litestar", "numpy", "polars", "pydantic", "recsys", "redis"} & imported


def test_without_httpx_it_says_what_is_missing() -> None:
    done = fresh("import sys; sys.modules['httpx'] = None; import serving.client.client")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == "ImportError: serving.client needs httpx: pip install 'recsys-engine[client]'"
